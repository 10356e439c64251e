"""Steps beyond those of training, and whether the refinement map contracts."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from plasticity.companion import metrics
from plasticity.companion.configuration import Runtime, check_range, setting
from plasticity.experiments import pnn_refinement
from plasticity.experiments.pnn_refinement import datasets

if TYPE_CHECKING:
    from torch import nn

    from plasticity.pnn.corpus import MaskedCorpus

__all__ = ["Config", "datasets", "follow", "run"]


@dataclass(frozen=True)
class Config(pnn_refinement.Config):
    """A trained arm that applies one module again and again, and how far it is followed."""

    deepest_step: int = setting(16, "steps taken at test time, at most")
    followed_sequences: int = setting(500, "test sequences read at every step, at most")
    jacobian_sequences: int = setting(16, "test sequences whose Jacobian is measured; 0 for none")
    jacobian_iterations: int = setting(30, "power iterations for its largest singular value")

    def __post_init__(self):
        """Check ranges."""
        super().__post_init__()
        check_range("deepest_step", self.deepest_step, 1, 10_000)
        check_range("followed_sequences", self.followed_sequences, 1, math.inf)
        check_range("jacobian_sequences", self.jacobian_sequences, 0, math.inf)
        check_range("jacobian_iterations", self.jacobian_iterations, 2, math.inf)


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Follow one trained model beyond its steps, and measure the map that it applies.

    Parameters
    ----------
    config : Config
    seed : int
        Of the training, and of the first directions of the power iterations.
    folder : Path
        Not used: the model's checkpoint belongs to `pnn_refinement`.
    runtime : Runtime

    Returns
    -------
    pandas.DataFrame
        Columns step, split, metric, value, unit.
    """
    model, corpus = pnn_refinement.trained_model(config, seed, runtime)
    rows = follow(config, model, corpus, seed)
    frame = pd.DataFrame(rows, columns=["step", "split", "metric", "value"])
    return frame.assign(unit=[metrics.metric(name).unit for name in frame["metric"]])


def follow(config: Config, model: "nn.Module", corpus: "MaskedCorpus", seed: int) -> list[tuple]:
    """Return rows (step, split, metric, value) of a recurrent model on texts without padding.

    By step of the state: ``deeper_accuracy``, ``relative_change`` and ``step_jacobian_norm``, the
    map's largest stretch there; at step 0 the mean stretch over the states that training visits,
    and verdicts set beforehand: the map contracts if it stretches nothing at any of those states,
    and returns to a fixed point if small changes die out at the deepest state.
    """
    rows = _deeper(config, model, corpus)
    return rows + _contraction(config, model, corpus, seed) if config.jacobian_sequences else rows


def _deeper(config: Config, model: "nn.Module", corpus: "MaskedCorpus") -> list[tuple]:
    """Read the model out after every step, those of training and more, on the first test mask."""
    import torch

    from plasticity.pnn.contraction import path, relative_changes
    from plasticity.pnn.masking import IGNORED_LABEL

    count = min(config.followed_sequences, len(corpus.test[0]) // config.test_draws)
    ids, labels = (part[:count] for part in corpus.test)
    device = next(model.parameters()).device
    hits, changes = [], []
    for batch, targets in zip(ids.split(128), labels.split(128), strict=True):
        states = path(model, batch.to(device), config.deepest_step)
        changes.append(relative_changes(states))
        scored = (targets != IGNORED_LABEL).to(device)
        answers = targets.to(device)[scored]
        with torch.no_grad():
            hits.append([int((model.head(s[scored]).argmax(-1) == answers).sum()) for s in states])
    total = int((labels != IGNORED_LABEL).sum())
    accuracy = [100 * sum(step) / total for step in zip(*hits, strict=True)]
    moved = torch.cat(changes, dim=1).mean(1).tolist()
    return [
        *((step, "test", "deeper_accuracy", value) for step, value in enumerate(accuracy)),
        *((step, "test", "relative_change", value) for step, value in enumerate(moved, start=1)),
    ]


def _contraction(config: Config, model, corpus: "MaskedCorpus", seed: int) -> list[tuple]:
    """Measure the stretch of the map at the states of training, and its growth far beyond them."""
    import torch

    from plasticity.pnn.contraction import growth, largest_stretch, path, refinement_map

    ids = corpus.test[0][: config.jacobian_sequences].to(next(model.parameters()).device)
    model.requires_grad_(False)
    states = path(model, ids, config.deepest_step)
    function, generator = refinement_map(model, states[0]), torch.Generator().manual_seed(seed)
    steps = config.num_steps if config.architecture == "pnn" else config.num_hidden_layers
    stretches = [
        largest_stretch(function, state, generator, config.jacobian_iterations)
        for state in states[: steps + 1]
    ]
    visited = torch.stack(stretches[:-1])  # what the steps of training are applied to
    radius = growth(function, states[-1], generator, 2 * config.jacobian_iterations)
    return [
        *((t, "test", "step_jacobian_norm", s.mean().item()) for t, s in enumerate(stretches)),
        (0, "test", "jacobian_norm", visited.mean().item()),
        (0, "test", "refinement_contracts", float((visited < 1).all())),
        (0, "test", "spectral_radius", radius.mean().item()),
        (0, "test", "returns_to_fixed_point", float((radius < 1).all())),
    ]
