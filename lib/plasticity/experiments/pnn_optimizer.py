"""Is refinement a learned optimiser? Updates against the gradient of the loss, and loss by step."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from plasticity.companion import metrics
from plasticity.companion.configuration import Runtime, check_range, setting
from plasticity.companion.statistics import cluster_resampler
from plasticity.experiments import pnn_refinement
from plasticity.experiments.pnn_refinement import datasets, models

if TYPE_CHECKING:
    from torch import nn

    from plasticity.pnn.alignment import Alignment

__all__ = ["Config", "datasets", "models", "run"]

LOWER, UPPER = 0.025, 0.975


@dataclass(frozen=True)
class Config(pnn_refinement.Config):
    """A trained arm, and the test sequences that it reads."""

    sequences: int = setting(4000, "test sequences read, at most")
    resamples: int = setting(2000, "resamplings of the documents, for the intervals")

    def __post_init__(self):
        """Check ranges."""
        super().__post_init__()
        check_range("sequences", self.sequences, 8, math.inf)
        check_range("resamples", self.resamples, 20, math.inf)


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Compare the updates of one model with steepest descent.

    Parameters
    ----------
    config : Config
    seed : int
        Of the training, and of the exchanges and resamplings.
    folder : Path
        Not used: the model's checkpoint belongs to `pnn_refinement`.
    runtime : Runtime

    Returns
    -------
    pandas.DataFrame
        Columns step (the readout), split, metric, value, unit. Split is ``test``; for PNN also
        ``random_refiner``: the trained model with the refiner that it had before training.
    """
    from plasticity.pnn.alignment import align

    model, corpus = pnn_refinement.trained_model(config, seed, runtime)
    ids, labels, documents = corpus.test_sample(config.sequences)

    def compare(split: str, model: "nn.Module") -> list[tuple]:
        found = align(model, ids, labels, seed=seed, pad_token_id=corpus.pad_token_id)
        rng = np.random.default_rng(seed)
        resample = cluster_resampler(documents[found.sequences], config.resamples, rng)
        return [(step, split, *rest) for step, *rest in _rows(found, resample)]

    rows = compare("test", model)
    if config.architecture == "pnn":
        control = pnn_refinement.with_untrained_refiner(model, config, seed)
        rows += compare("random_refiner", control)
    frame = pd.DataFrame(rows, columns=["step", "split", "metric", "value"])
    return frame.assign(unit=[metrics.metric(name).unit for name in frame["metric"]])


def _rows(found: "Alignment", resample: Callable) -> list[tuple]:
    """Return (step, metric, value) of every readout, and the verdict."""
    losses = found.losses.astype(float)
    rows = [(step, "readout_loss", own.mean()) for step, own in enumerate(losses)]
    follows = []
    for step in range(1, len(losses)):
        cosine, exchanged = found.cosines[step - 1], found.exchanged[step - 1]
        change = losses[step] - losses[step - 1]
        beyond = (cosine - exchanged).astype(float)
        low, high = np.quantile(resample(beyond), LOWER), np.quantile(resample(change), UPPER)
        descent = found.descended[step - 1] - losses[step - 1]
        rows += [
            (step, "gradient_cosine", cosine.mean()),
            (step, "exchanged_gradient_cosine", exchanged.mean()),
            (step, "cosine_beyond_exchanged", beyond.mean()),
            (step, "cosine_beyond_exchanged_low", low),
            (step, "loss_change", change.mean()),
            (step, "loss_change_high", high),
            (step, "descent_loss_change", descent.mean()),
            (step, "loss_falls_share", 100 * (change < 0).mean()),
        ]
        follows.append(low > 0 and high < 0)
    return [*rows, (0, "deltas_follow_negative_gradient", float(all(follows)))]
