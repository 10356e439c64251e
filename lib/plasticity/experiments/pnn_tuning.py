"""Choosing each arm's settings: the same trials for every arm, scored on validation data."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from plasticity.companion.configuration import Runtime
from plasticity.experiments import pnn_refinement
from plasticity.experiments.pnn_refinement import prepare_corpus, train_arm

datasets = pnn_refinement.datasets


@dataclass(frozen=True)
class Config(pnn_refinement.Config):
    """One trial: an arm of `pnn_refinement` with one learning rate, warm-up and initialisation."""


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Train one trial and score it on the validation set; the test set is not touched.

    Parameters
    ----------
    config : Config
    seed : int
    folder : Path
        Keeps the checkpoint.
    runtime : Runtime

    Returns
    -------
    pandas.DataFrame
        Columns step, split, metric, value, unit.
    """
    corpus = prepare_corpus(config)
    _, result = train_arm(config, corpus, seed, folder, runtime)
    last = result.curve[-1]
    guess = corpus.constant_guess("validation")
    rows = [
        ("accuracy", last["accuracy"], "percent"),
        ("loss", last["loss"], "nats per token"),
        ("accuracy_over_guess", last["accuracy"] - guess, "percentage points"),
    ]
    frame = pd.DataFrame(rows, columns=["metric", "value", "unit"])
    return frame.assign(step=0, split="validation")
