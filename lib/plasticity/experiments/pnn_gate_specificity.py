"""Does PNN's gate choose, or only weigh? Experiment 7 as released, and with sizes matched.

As released, a gate is dropped, inverted, shuffled, levelled or scaled, each with other masks, and
the inverted one is compared with scalings that move the update by other amounts. As it should be,
every change is compared, on the same masks, with a scaling that moves the update of each token at
each step by the same length, along itself: what is lost beyond that is due to which dimensions are
open.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from plasticity.companion import metrics
from plasticity.companion.configuration import Runtime, check_choice, check_range, setting
from plasticity.companion.statistics import cluster_resampler
from plasticity.experiments import pnn_refinement
from plasticity.experiments.pnn_refinement import datasets, models

if TYPE_CHECKING:
    import torch

    from plasticity.pnn.interventions import Change

__all__ = ["Config", "datasets", "models", "run"]

# The released script's arms, in its order, and how many validation sequences it reads.
DROPPED, NOISES, SCALES = (25, 50, 75), (10, 30, 50), (25, 50, 75, 150, 200)
RELEASED_SEQUENCES = 320
LOGIT_NOISES = (0.5, 1.0, 2.0)
SHARES = (0.25, 0.5, 0.75)  # of the way to the opposite gate
STRUCTURED = (
    "opposite",
    "opposite about the mean",
    "dimensions shuffled",
    "tokens shuffled",
    "mean of the token",
    "mean of the dimension",
    "one half",
)
STOCHASTIC = ("shuffled", "dropped", "noise")  # words in the names of arms that are drawn
MATCHED = {"forward": 1, "backward": -1}  # along the update, or against it
MEASURED_SEQUENCES = 128  # sizes of changes are means over their tokens
LOWER, UPPER = 0.025, 0.975


@dataclass(frozen=True)
class Config(pnn_refinement.Config):
    """A trained PNN, or a fresh one of the same seed, and how often each arm is drawn."""

    trained: bool = setting(True, "trained, or fresh from its initialisation: the control")
    sequences: int = setting(2000, "test sequences read, at most")
    draws: int = setting(20, "draws of each arm that is random")
    resamples: int = setting(2000, "resamplings of the documents, for the intervals")

    def __post_init__(self):
        """Check ranges."""
        super().__post_init__()
        check_choice("architecture", self.architecture, ("pnn",))
        check_range("sequences", self.sequences, 8, math.inf)
        check_range("draws", self.draws, 1, math.inf)
        check_range("resamples", self.resamples, 20, math.inf)


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Change the gates of one model in every way, and see what accuracy it costs.

    Parameters
    ----------
    config : Config
    seed : int
        Of the training, of the random arms and of the resamplings.
    folder : Path
        Not used: the model's checkpoint belongs to `pnn_refinement`.
    runtime : Runtime

    Returns
    -------
    pandas.DataFrame
        Columns step, split, metric, value, unit. Split names the arm; of an arm that acts at one
        refinement step only, step names that, and is 0 otherwise.
    """
    if config.trained:
        model, corpus = pnn_refinement.trained_model(config, seed, runtime)
    else:
        model, corpus = pnn_refinement.untrained_model(config, seed)
    rows = _released_rows(model, corpus, seed) + _paired_rows(model, corpus, config, seed)
    frame = pd.DataFrame(rows, columns=["step", "split", "metric", "value"])
    return frame.assign(unit=[metrics.metric(name).unit for name in frame["metric"]])


def released_changes(generator: "torch.Generator") -> dict[str, "Change"]:
    """Return the changes of the released script under its names.

    Parameters
    ----------
    generator : torch.Generator
        Draws what is random.
    """
    from plasticity.pnn import interventions as change

    return {
        **{f"dropout_{p}": change.drop(p / 100, generator) for p in DROPPED},
        "anti_gate": change.opposite,
        **{f"noise_{p}": change.add_noise(p / 100, generator) for p in NOISES},
        "pattern_shuffling": change.shuffle_dimensions(generator),
        "uniform_gate": change.mean_of_token,
        **{f"scale_{p}": change.scale(p / 100) for p in SCALES},
    }


def _released_rows(model, corpus, seed: int) -> list[tuple]:
    """Return drops as released: the first validation texts, and a mask of its own for each arm."""
    import torch

    from plasticity.pnn.evaluation import token_scores
    from plasticity.pnn.interventions import Intervention, identity, intervene
    from plasticity.pnn.masking import fixed_masks, unmasked

    ids = unmasked(*(part[:RELEASED_SEQUENCES] for part in corpus.validation))
    changes = released_changes(torch.Generator().manual_seed(seed))
    accuracies = {}
    for number, (name, change) in enumerate({"baseline": identity, **changes}.items()):
        mask_seed = int(np.random.default_rng([seed, number]).integers(2**31))
        with intervene(model, Intervention("gate", change)):
            masks = fixed_masks(ids, corpus.rule, mask_seed)
            hits, _ = token_scores(model, *masks, pad_token_id=corpus.pad_token_id)
        accuracies[name] = 100 * float(hits.float().mean())
    drops = {name: accuracies["baseline"] - accuracies[name] for name in changes}
    scaled = [drops[f"scale_{p}"] for p in SCALES]
    holds = float(drops["anti_gate"] > max(scaled))
    return [
        (0, "validation", "anti_gate_worst_as_released", holds),
        *((0, name, "released_accuracy_drop", drop) for name, drop in drops.items()),
    ]


def structured_changes(
    generator: "torch.Generator", profile: "torch.Tensor"
) -> dict[str, "Change"]:
    """Return the changes that take away one kind of choice each, under their names.

    Parameters
    ----------
    generator : torch.Generator
        Draws what is random.
    profile : Tensor, shape (steps, hidden_size)
        Mean gate of each dimension at each step.
    """
    from plasticity.pnn import interventions as change

    changes = (
        change.opposite,
        change.opposite_about_mean,
        change.shuffle_dimensions(generator),
        change.shuffle_tokens(generator),
        change.mean_of_token,
        change.fixed_profile(profile),
        change.constant(0.5),
    )
    return dict(zip(STRUCTURED, changes, strict=True))


def arms(generator: "torch.Generator", profile: "torch.Tensor") -> dict[tuple[int, str], "Change"]:
    """Return every arm of the careful version: (step, or 0 for all; name) to its change.

    Parameters
    ----------
    generator, profile
        As for `structured_changes`.
    """
    from plasticity.pnn import interventions as change

    found = {(0, name): one for name, one in structured_changes(generator, profile).items()}
    for share in SHARES:
        found[0, f"{100 * share:.0f} % opposite"] = change.partly(change.opposite, share)
    for step in range(1, len(profile) + 1):
        found[step, "opposite"] = change.opposite
    matched = {
        (step, f"{name}, {side}"): change.of_the_same_size(one, sign)
        for (step, name), one in found.items()
        for side, sign in MATCHED.items()
    }
    rates = [percent / 100 for percent in DROPPED]
    noises = [percent / 100 for percent in NOISES]
    alone = {
        **{f"{100 * r:.0f} % dropped": change.drop(r, generator) for r in rates},
        **{f"{100 * r:.0f} % dropped, rescaled": change.drop(r, generator, True) for r in rates},
        **{f"noise of {d:.1f}": change.add_noise(d, generator) for d in noises},
        **{f"logit noise of {d:.1f}": change.add_logit_noise(d, generator) for d in LOGIT_NOISES},
        **{f"scaled by {p / 100:.2f}": change.scale(p / 100) for p in SCALES},
    }
    return found | matched | {(0, name): one for name, one in alone.items()}


def _paired_rows(model, corpus, config: Config, seed: int) -> list[tuple]:
    """Return drops, sizes and contrasts of every arm, on the same masks of the test set."""
    import torch

    from plasticity.pnn.interventions import identity
    from plasticity.pnn.masking import IGNORED_LABEL

    ids, labels, documents = corpus.test_sample(config.sequences)
    documents = documents[(labels != IGNORED_LABEL).nonzero()[:, 0].numpy()]
    profile = torch.from_numpy(_profile(model, corpus))
    changes = arms(torch.Generator().manual_seed(seed), profile)
    score = _scorer(model, (ids, labels), corpus.pad_token_id, config.draws)
    plain = score(identity, 0, "nothing")
    lost = {key: plain - score(change, *key) for key, change in changes.items()}
    resample = cluster_resampler(documents, config.resamples, np.random.default_rng(seed))
    rows = []
    for (step, name), (hits, losses) in lost.items():
        drops = resample(hits)
        rows += [
            (step, name, "accuracy_drop", 100 * hits.mean()),
            (step, name, "accuracy_drop_low", 100 * np.quantile(drops, LOWER)),
            (step, name, "accuracy_drop_high", 100 * np.quantile(drops, UPPER)),
            (step, name, "loss_increase", -losses.mean()),
        ]
    few = ids[:MEASURED_SEQUENCES]
    rows += [
        (step, name, "relative_size", _size(model, few, change, step, corpus.pad_token_id))
        for (step, name), change in changes.items()
    ]
    return rows + _contrast_rows(lost, resample)


def _profile(model, corpus) -> np.ndarray:
    """Return each dimension's mean gate at each step over the words of the validation set."""
    import torch

    from plasticity.pnn.gates import gate_values

    ids = corpus.validation[0][:RELEASED_SEQUENCES]
    words = torch.ones_like(ids, dtype=torch.bool)
    if corpus.pad_token_id is not None:
        words = ids != corpus.pad_token_id
    return gate_values(model, ids, words, pad_token_id=corpus.pad_token_id).mean(-1)


def _scorer(model, masks: tuple, pad_token_id: int | None, draws: int) -> Callable:
    """Return what maps a change to mean hits and losses of each hidden token, shape (2, tokens)."""
    from plasticity.pnn.evaluation import token_scores
    from plasticity.pnn.interventions import Intervention, intervene

    def score(change: "Change", step: int, name: str) -> np.ndarray:
        times = draws if any(word in name for word in STOCHASTIC) else 1
        one = Intervention("gate", change, steps={step} if step else None)
        total = 0.0
        for _ in range(times):
            with intervene(model, one):
                found = token_scores(model, *masks, pad_token_id=pad_token_id)
            total = total + np.stack([part.double().numpy() for part in found])
        return total / times

    return score


def _size(model, ids, change: "Change", step: int, pad_token_id: int | None) -> float:
    """Return how far a change moves the updates of an undisturbed model, in their lengths."""
    import torch

    from plasticity.pnn.interventions import Intervention, SizeMeter, intervene

    meter = SizeMeter(change)
    mask = None if pad_token_id is None else (ids != pad_token_id).long()
    with torch.no_grad(), intervene(model, Intervention("gate", meter, {step} if step else None)):
        model.pnn(ids, mask)
    return meter.mean()


def _contrast_rows(lost: dict[tuple[int, str], np.ndarray], resample: Callable) -> list[tuple]:
    """Return what each change costs beyond the scalings of its size, and the verdict."""
    rows, lows = [], {}
    for (step, name), (hits, _) in lost.items():
        for side in MATCHED:
            if (step, f"{name}, {side}") not in lost:
                continue
            beyond = hits - lost[step, f"{name}, {side}"][0]
            drawn = 100 * resample(beyond)
            lows[step, name, side] = np.quantile(drawn, LOWER)
            rows += [
                (step, f"{name}, {side}", "drop_difference", 100 * beyond.mean()),
                (step, f"{name}, {side}", "drop_difference_low", lows[step, name, side]),
                (step, f"{name}, {side}", "drop_difference_high", np.quantile(drawn, UPPER)),
            ]
    worse = all(lows[0, "opposite", side] > 0 for side in MATCHED)
    return [*rows, (0, "test", "anti_gate_worse_than_matched_scaling", float(worse))]
