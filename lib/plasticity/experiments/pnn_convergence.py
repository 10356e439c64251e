"""Do easy tokens settle sooner? The paper's figure 2, other rules, nulls and word frequency.

The system that makes the predictions is imported where it runs, so that reading stored results
loads no torch.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from plasticity.companion import metrics
from plasticity.companion.configuration import Runtime, check_range, setting
from plasticity.experiments import pnn_refinement
from plasticity.pnn import convergence
from plasticity.pnn.convergence import CLASSES

if TYPE_CHECKING:
    from plasticity.pnn.corpus import MaskedCorpus
    from plasticity.pnn.trajectories import Trajectories

# What the paper prints, and what its figure 2 shows as measured on its bars and lines.
SOURCE_SHARES = dict(zip(CLASSES, (4.9, 44.4, 50.7), strict=True))  # percent
SOURCE_STEPS = dict(zip(CLASSES, (1.53, 2.29, 2.60), strict=True))
SOURCE_COUNTS = {  # tokens by step, 1 to 4
    "easy": (192, 28, 40, 12),
    "medium": (90, 1717, 571, 121),
    "hard": (270, 1079, 1041, 465),
}
SOURCE_STABILITY = {  # share of predictions equal to the one before, percent, steps 1 to 4
    "easy": (70.0, 76.6, 90.8, 96.9),
    "medium": (3.0, 70.2, 89.6, 98.4),
    "hard": (10.2, 43.0, 70.3, 87.9),
}

# Each rule's metric; the last of them is the only one that looks at the target.
RULES = (
    "convergence_step",
    "last_change_step",
    "small_divergence_step",
    "small_change_step",
    "right_for_good_step",
)
THIRDS = ("frequent", "middle", "rare")
CONTRASTS = {"hard_minus_easy": (2, 0), "medium_minus_easy": (1, 0)}  # indices into CLASSES
NULLS = ("label_null", "target_null", "endpoint_null")
BOUND = 0.975  # the quantile of a null that a gap must exceed
LOWER = 1 - BOUND  # the quantile of resampled gaps that must exceed a null's mean

datasets = pnn_refinement.datasets
models = pnn_refinement.models


@dataclass(frozen=True)
class Config(pnn_refinement.Config):
    """The arm whose predictions are followed, and how they are analysed."""

    permutations: int = setting(500, "exchanges of each null, and draws of the texts")
    small_share: float = setting(0.5, "share of the validation set's moves that count as small")

    def __post_init__(self):
        """Check the settings of the analysis as well."""
        super().__post_init__()
        check_range("permutations", self.permutations, 20, math.inf)
        check_range("small_share", self.small_share, 0.01, 0.99)


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Follow the hidden tokens of the test set through one model, and say when they settle.

    Parameters
    ----------
    config : Config
    seed : int
        Seed of the training and of the exchanges.
    folder : Path
        Not used: the model's checkpoint belongs to `pnn_refinement`.
    runtime : Runtime

    Returns
    -------
    pandas.DataFrame
        Columns step, split, metric, value, unit. A class without tokens has no means, so no rows.
    """
    from plasticity.pnn.trajectories import follow

    model, corpus = pnn_refinement.trained_model(config, seed, runtime)
    validation, test = (
        follow(model, *masked, pad_token_id=corpus.pad_token_id)
        for masked in (corpus.validation, corpus.test)
    )
    counts = np.bincount(corpus.train.flatten().numpy(), minlength=model.config.vocab_size)
    documents = corpus.test_documents  # of each sequence once; it is masked several times
    texts = documents[test.sequences % len(documents)]
    rows = analyse(test, validation, texts, counts, config, np.random.default_rng(seed))
    rows += _score_rows(test, corpus)
    frame = pd.DataFrame(rows, columns=["step", "split", "metric", "value"])
    frame = frame[np.isfinite(frame["value"])]
    return frame.assign(unit=[metrics.metric(name).unit for name in frame["metric"]])


def analyse(
    test: "Trajectories",
    validation: "Trajectories",
    texts: np.ndarray,
    counts: np.ndarray,
    config: Config,
    rng: np.random.Generator,
) -> list[tuple]:
    """Apply every rule, null and difficulty to the paths of hidden tokens.

    Parameters
    ----------
    test, validation : plasticity.pnn.trajectories.Trajectories
        The paths that are analysed, and those that set the thresholds.
    texts : ndarray of int, shape (tokens,)
        Number of the document that each analysed token stands in.
    counts : ndarray of int, shape (vocab_size,)
        How often each word piece occurs in the training set.
    config : Config
        Its `permutations` and `small_share`.
    rng : numpy.random.Generator
        Draws the exchanges.

    Returns
    -------
    list of (step, split, metric, value)
        Values are nan where a class has no tokens.
    """
    limits = {
        name: float(np.quantile(getattr(validation, name), config.small_share))
        for name in ("divergence", "change")
    }
    steps_for = _rules(test, limits)
    steps = steps_for(test.targets)
    classes = convergence.difficulty(test.predictions, test.targets)
    return [
        *((0, "validation", f"{name}_threshold", limit) for name, limit in limits.items()),
        *_figure_rows(test.predictions, steps[0], classes),
        *_mean_rows(steps, classes, CLASSES),
        *((0, "all", rule, own.mean()) for rule, own in zip(RULES, steps, strict=True)),
        *_null_rows(test, texts, steps_for, steps, classes, config.permutations, rng),
        *_frequency_rows(steps, classes, counts[test.targets]),
    ]


def _rules(paths: "Trajectories", limits: dict[str, float]) -> Callable:
    """Return what maps targets to steps, one row for each of `RULES`."""
    predictions = paths.predictions
    blind = [
        convergence.first_repeat(predictions),
        convergence.last_change(predictions),
        convergence.first_below(paths.divergence, limits["divergence"]),
        convergence.first_below(paths.change, limits["change"]),
    ]
    return lambda targets: np.stack([*blind, convergence.right_for_good(predictions, targets)])


def _figure_rows(predictions: np.ndarray, steps: np.ndarray, classes: np.ndarray) -> list[tuple]:
    """Return the rest of figure 2: counts by step and class, stability, shares."""
    kept = predictions[1:] == predictions[:-1]
    rows = []
    for index, name in enumerate(CLASSES):
        member = classes == index
        rows.append((0, name, "token_share", 100 * member.mean()))
        for step, row in enumerate(kept, start=1):
            stability = 100 * row[member].mean() if member.any() else math.nan
            rows += [
                (step, name, "converged_tokens", int((steps[member] == step).sum())),
                (step, name, "prediction_stability", stability),
            ]
    return rows


def _mean_rows(steps: np.ndarray, classes: np.ndarray, names: tuple[str, ...]) -> list[tuple]:
    means = convergence.class_means(steps, classes, len(names))
    return [
        (0, name, rule, mean)
        for rule, own in zip(RULES, means, strict=True)
        for name, mean in zip(names, own, strict=True)
    ]


def _null_rows(
    paths: "Trajectories",
    texts: np.ndarray,
    steps_for: Callable,
    steps: np.ndarray,
    classes: np.ndarray,
    permutations: int,
    rng: np.random.Generator,
) -> list[tuple]:
    """Return the gaps between classes, and what they come to where tokens exchange something."""
    guess_kept = paths.predictions[0] == paths.predictions[-1]
    blind = steps[:-1]  # the last rule looks at targets, so labels alone cannot be exchanged
    exchanged = dict(
        zip(
            NULLS,
            (
                convergence.exchanged_labels(blind, classes, permutations, rng),
                convergence.exchanged_targets(
                    paths.predictions, paths.targets, steps_for, permutations, rng
                ),
                convergence.exchanged_labels(blind, classes, permutations, rng, guess_kept),
            ),
            strict=True,
        )
    )
    means = convergence.class_means(steps, classes)
    resampled = convergence.resampled_means(steps, classes, texts, permutations, rng)
    rows, beyond = [], []
    for contrast, (more, less) in CONTRASTS.items():
        gaps = means[:, more] - means[:, less]
        lows = np.quantile(resampled[..., more] - resampled[..., less], LOWER, axis=0)
        for rule, gap, low in zip(RULES, gaps, lows, strict=True):
            rows += [
                (0, f"{rule}:{contrast}", "step_gap", gap),
                (0, f"{rule}:{contrast}", "step_gap_low", low),
            ]
        for null, found in exchanged.items():
            drawn = found[..., more] - found[..., less]  # (permutations, rules)
            bounds = np.quantile(drawn, BOUND, axis=0)
            for rule, mean, bound in zip(RULES, drawn.mean(0), bounds, strict=False):
                rows += [
                    (0, f"{rule}:{contrast}", f"{null}_gap", mean),
                    (0, f"{rule}:{contrast}", f"{null}_gap_bound", bound),
                ]
            # Never where a class is empty: nan.
            beyond.append(gaps[0] > bounds[0] and lows[0] > drawn[:, 0].mean())
    return [*rows, (0, "test", "easy_needs_fewer_steps_than_null", float(all(beyond)))]


def _frequency_rows(steps: np.ndarray, classes: np.ndarray, counts: np.ndarray) -> list[tuple]:
    """Return steps by frequency of the word, and their rank correlation with and without easy."""
    thirds = convergence.frequency_third(counts)
    rows = [
        (0, name, "token_share", 100 * (thirds == index).mean())
        for index, name in enumerate(THIRDS)
    ]
    rows += _mean_rows(steps, thirds, THIRDS)
    for split, chosen in (("all", classes >= 0), ("not_easy", classes > 0)):
        rows += [
            (0, f"{rule}:{split}", "frequency_correlation", _rank_correlation(counts, own, chosen))
            for rule, own in zip(RULES, steps, strict=True)
        ]
    return rows


def _rank_correlation(counts: np.ndarray, steps: np.ndarray, chosen: np.ndarray) -> float:
    counts, steps = counts[chosen], steps[chosen]
    if min(len(set(counts)), len(set(steps))) < 2:
        return math.nan  # all alike: there is nothing to rank
    return float(spearmanr(counts, steps).statistic)


def _score_rows(test: "Trajectories", corpus: "MaskedCorpus") -> list[tuple]:
    accuracy = 100 * float((test.predictions[-1] == test.targets).mean())
    guess = corpus.constant_guess("test")
    return [
        (0, "test", "accuracy", accuracy),
        (0, "test", "constant_guess_accuracy", guess),
        (0, "test", "accuracy_over_guess", accuracy - guess),
        (0, "test", "scored_tokens", len(test.targets)),
    ]
