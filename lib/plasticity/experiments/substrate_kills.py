"""Whether what was committed survives: a store and a brain killed at random moments, many times.

Every life is started from what the one before it left, grows, learns and keeps, and is ended by the
signal that no process can catch. Then what it left is opened and compared with a replay.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from plasticity.companion import metrics
from plasticity.companion.configuration import (
    ExperimentConfig,
    Runtime,
    check_choice,
    check_range,
    setting,
)
from plasticity.substrate.kill_workloads import BrainWorkload, StoreWorkload
from plasticity.substrate.kills import survive

WORKLOADS = {"store": StoreWorkload, "brain": BrainWorkload}


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """What is killed, and how often."""

    workload: str = setting("brain", "store, or brain (on a store)")
    kills: int = setting(20, "lives, each ended by a kill")

    def __post_init__(self):
        """Check types and ranges."""
        super().__post_init__()
        check_choice("workload", self.workload, tuple(WORKLOADS))
        check_range("kills", self.kills, 1, 100_000)


def datasets(config: Config) -> tuple[str, ...]:
    """Return the datasets that a run reads: none, the changes are drawn."""
    return ()


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Kill, reopen and compare.

    Parameters
    ----------
    config : Config
    seed : int
        Draws the changes and the moments of the kills.
    folder : Path
        What is killed is written into it.
    runtime : Runtime
        Not used: one process lives at a time.

    Returns
    -------
    pandas.DataFrame
        Columns step (the life), split (what it was doing when it was killed), metric, value, unit;
        a fault is a warning as well.
    """
    rows = []
    for number, life in enumerate(
        survive(WORKLOADS[config.workload], folder / "kept", config.kills, seed)
    ):
        for fault in life.faults:
            warnings.warn(f"{config.workload}, life {number}, {life.doing}: {fault}", stacklevel=1)
        rows.append((number, life.doing, "reopens_at_a_commit", float(life.at_commit)))
        rows.append((number, life.doing, "same_bits", float(life.same_bits)))
        rows.append((number, life.doing, "commits_reported", life.reported))
        rows.append((number, life.doing, "commits_found", life.found))
    frame = pd.DataFrame(rows, columns=["step", "split", "metric", "value"])
    return frame.assign(unit=[metrics.metric(name).unit for name in frame["metric"]])
