"""An experiment for tests: it logs each start, works in steps that it can resume, and may fail."""

import os
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from plasticity.companion.configuration import ExperimentConfig, check_choice


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """Settings of the toy."""

    offset: float = field(default=0.0, metadata={"help": "added to every value"})
    steps: int = field(default=3, metadata={"help": "number of steps"})
    sleep: float = field(default=0.0, metadata={"help": "seconds a step"})
    ending: str = field(default="well", metadata={"help": "well, error, kill or empty"})
    corpus: str = field(default="", metadata={"help": "name of a dataset it depends on"})

    def __post_init__(self):
        super().__post_init__()
        check_choice("ending", self.ending, ("well", "error", "kill", "empty"))


def datasets(config):
    return (config.corpus,) if config.corpus else ()


def run(config, seed, folder, runtime):
    done = Path(folder) / "steps.txt"
    finished = len(done.read_text().splitlines()) if done.exists() else 0
    with open(os.environ["TOY_LOG"], "a") as log:
        log.write(f"{config.variant} {seed} from {finished}\n")
    for step in range(finished, config.steps):
        time.sleep(config.sleep)
        if config.ending == "kill" or os.environ.get("TOY_KILL_AT") == str(step):
            os.kill(os.getpid(), signal.SIGKILL)
        with open(done, "a") as stream:
            stream.write(f"{step}\n")
    if config.ending == "error":
        raise ValueError(f"seed {seed} went wrong")
    steps = range(config.steps if config.ending == "well" else 0)
    values = [config.offset + seed + step / 10 for step in steps]
    table = {"step": steps, "split": "test", "metric": "loss", "value": values, "unit": "nats"}
    return pd.DataFrame(table)
