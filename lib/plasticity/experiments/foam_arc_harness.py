"""ARC scored here and by lm-evaluation-harness itself, item by item."""

import importlib.util
import math
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from plasticity.companion import datasets as data
from plasticity.companion import metrics
from plasticity.companion import models as weights
from plasticity.companion.configuration import ExperimentConfig, Runtime, check_range, setting

SETS = ("arc_easy", "arc_challenge")
PEER = "lm_eval"


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """The model that both score, and on how many items."""

    model: str = setting("smollm2_135m_instruct", "a key of data/models.yaml")
    items: int = setting(200, "first items of each test set")

    def __post_init__(self):
        """Check ranges."""
        super().__post_init__()
        check_range("items", self.items, 1, math.inf)


def datasets(config: Config) -> tuple[str, ...]:
    """Return the datasets that a run reads."""
    return SETS


def models(config: Config) -> tuple[str, ...]:
    """Return the models that a run reads."""
    return (config.model,)


def installed() -> bool:
    """Tell whether lm-evaluation-harness is at hand."""
    return importlib.util.find_spec(PEER) is not None


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Score both test sets twice.

    Parameters
    ----------
    config : Config
    seed : int
        Not used: nothing is random.
    folder : Path
        Takes a copy of the items, for the harness to read.
    runtime : Runtime
        Not used: the processor is fast enough.

    Returns
    -------
    pandas.DataFrame
        Columns step, split, metric, value, unit.

    Raises
    ------
    ModuleNotFoundError
        If lm-evaluation-harness is not installed.
    """
    from plasticity.foam.trial.arc import arc_questions
    from plasticity.foam.trial.scoring import score_choices

    if not installed():
        raise ModuleNotFoundError(
            f"{PEER} is not installed: pip install 'plasticity[peers]', or leave this check out"
        )
    model, tokenizer = weights.load(config.model)
    rows = []
    for name in SETS:
        split = data.load(name)["test"]
        split = split.select(range(min(config.items, len(split))))
        own = score_choices(model, tokenizer, arc_questions(split, name), batch_size=8)
        file = folder / f"{name}.parquet"
        split.to_parquet(file)
        theirs = harness_scores(model, tokenizer, name, file)
        rows += [
            (name, "rows", len(own)),
            (name, "agreeing_items", int((own["correct"] == theirs["acc"]).sum())),
            (name, "agreeing_items_norm", int((own["correct_norm"] == theirs["acc_norm"]).sum())),
            (name, "accuracy", 100 * theirs["acc"].mean()),
            (name, "accuracy_norm", 100 * theirs["acc_norm"].mean()),
        ]
    frame = pd.DataFrame(rows, columns=["split", "metric", "value"]).assign(step=0)
    return frame.assign(unit=[metrics.metric(name).unit for name in frame["metric"]])


def harness_scores(model, tokenizer, name: str, file: Path) -> pd.DataFrame:
    """Score the items of a file by the harness's own task of that name.

    Parameters
    ----------
    model, tokenizer
        Of transformers.
    name : {"arc_easy", "arc_challenge"}
    file : Path
        Parquet, with the columns of ``allenai/ai2_arc``.

    Returns
    -------
    DataFrame
        Columns acc and acc_norm, bool, one row for each item in their order.
    """
    import lm_eval
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.models.huggingface import HFLM

    task = Path(lm_eval.__file__).parent / "tasks" / "arc" / "arc_easy.yaml"
    settings = yaml.safe_load(task.read_text(encoding="utf-8")) | {
        "task": name,
        "dataset_path": "parquet",
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {"test": str(file)}},
        "training_split": None,
        "validation_split": None,
    }
    harness = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=8, device="cpu")
    found = lm_eval.evaluate(
        harness, {name: ConfigurableTask(config=settings)}, bootstrap_iters=0, log_samples=True
    )
    samples = sorted(found["samples"][name], key=lambda sample: sample["doc_id"])
    return pd.DataFrame(samples)[["acc", "acc_norm"]].astype(bool)
