"""The released script's experiments as they should be: same masked tokens, intervals, a control.

Every function gives rows (step, split, metric, value) and, last, its verdict by a rule that was set
before anything was measured: 1 where the claim holds, else 0. `plasticity.pnn.released` has the
same experiments as released.

References
----------
Choi (2025), Plastic Neural Networks, released script ``experimental_evidence.py``. Chapter:
evidence.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from plasticity.pnn import activity as measures
from plasticity.pnn import dimensions
from plasticity.pnn.difficulty import (
    CLASSES,
    area_under_curve,
    correlation,
    residual,
    thirds,
    within,
)

LOWER, UPPER = 0.025, 0.975
CERTAINTY = 1.96  # standard errors that a dimension's change must exceed to be one
CONTROL = "untrained"
Rows = list[tuple[int, str, str, float]]


@dataclass(frozen=True)
class Sample:
    """Masked tokens of a test set, each text once, and what models did with them.

    Attributes
    ----------
    found : dict of str to dict
        What `plasticity.pnn.activity.record` found of raw_proposal, proposal, gate and state: under
        ``trained``, and under ``untrained`` with the refiner as it was before training.
    texts, documents, positions : ndarray of int64, shape (tokens,)
        Which sequence each token stands in, which document that is from, and where in the sequence.
    resample : callable
        From values of the tokens to their means where whole documents are drawn again.
    """

    found: dict[str, dict[str, np.ndarray]]
    texts: np.ndarray
    documents: np.ndarray
    positions: np.ndarray
    resample: Callable

    def low(self, values: np.ndarray) -> float:
        """Return the lower bound of a mean."""
        return float(np.quantile(self.resample(values.astype(float)), LOWER))

    def high(self, values: np.ndarray) -> float:
        """Return the upper bound of a mean."""
        return float(np.quantile(self.resample(values.astype(float)), UPPER))


def activity(sample: Sample, released: dict) -> Rows:
    """Return experiment 1: sizes and directions by step.

    Parameters
    ----------
    sample : Sample
    released : dict
        What `plasticity.pnn.released.activity` returned. The figure is complete where each of its
        quantities was measured at every step of every batch, and all numbers are finite.
    """
    rows: Rows = []
    for name, found in sample.found.items():
        states = found["state"]
        updates = np.diff(states, axis=0)
        turns = measures.cosines(updates[1:], updates[:-1])
        by_step = {
            "raw_proposal_rms": (1, measures.rms(found["raw_proposal"])),
            "proposal_rms": (1, measures.rms(found["proposal"])),
            "gate_mean": (1, found["gate"].mean(-1)),
            "delta_rms": (1, measures.rms(updates)),
            "relative_update": (1, measures.relative_updates(states)),
            "state_rms": (0, measures.rms(states)),
            "update_cosine": (2, turns),
        }
        rows += [
            (step, name, metric, float(own.mean()))
            for metric, (first, values) in by_step.items()
            for step, own in enumerate(values, first)
        ]
    steps = len(sample.found["trained"]["gate"])
    values = [own["values"] for own in released.values()]
    whole = all(len(own) and len(own) % steps == 0 for own in values)
    numbers = [*(value for own in values for value in own), *(row[-1] for row in rows)]
    complete = whole and np.isfinite(numbers).all()
    return [*rows, (0, "test", "activity_figure_complete", float(complete))]


def selectivity(sample: Sample) -> Rows:
    """Return experiment 3: over how few dimensions updates and gates are spread, by step.

    The claim holds where updates have the lowest participation ratio at a step in the middle, below
    those of the first and of the last step with the whole interval.

    Parameters
    ----------
    sample : Sample
    """
    rows: Rows = []
    spread = np.empty(0)
    for name, found in sample.found.items():
        updates = np.diff(found["state"], axis=0)
        for what, values in (("update", updates), ("gate", found["gate"])):
            spread_here = 100 * measures.participation_ratio(values)
            by_metric = {
                "participation_ratio": spread_here,
                "hoyer_sparsity": measures.hoyer_sparsity(values),
                "excess_kurtosis": measures.excess_kurtosis(values),
            }
            rows += [
                (step, f"{what}, {name}", metric, float(own.mean()))
                for metric, by_step in by_metric.items()
                for step, own in enumerate(by_step, start=1)
            ]
            if (what, name) == ("update", "trained"):
                spread = spread_here
    narrowest, highs = int(spread.mean(1).argmin()), []
    for name, end in (("first", 0), ("last", len(spread) - 1)):
        gap = spread[narrowest] - spread[end]  # nothing, if the narrowest is that end
        highs.append(sample.high(gap))
        rows += [
            (0, f"narrowest less {name}", "participation_gap", float(gap.mean())),
            (0, f"narrowest less {name}", "participation_gap_high", highs[-1]),
        ]
    holds = float(all(high < 0 for high in highs))
    return [*rows, (0, "test", "middle_steps_most_selective", holds)]


def dimension_kinds(sample: Sample, draws: int, rng: np.random.Generator) -> Rows:
    """Return experiment 4: kinds of dimensions beyond noise and growth, against dealt-out signs.

    A dimension's activity is its mean size in units of the token's state, and its change from step
    to step is one if it exceeds the noise between documents. The claim holds where accumulators and
    selectors are both more common than in 97.5 % of the deals.

    Parameters
    ----------
    sample : Sample
    draws : int
        How often the signs are dealt out.
    rng : numpy.random.Generator
    """
    rows: Rows = []
    beyond: list[bool] = []
    for name, found in sample.found.items():
        size = np.abs(found["state"]) / measures.rms(found["state"])[..., None]
        changes = np.diff(size, axis=0).swapaxes(0, 1)  # (tokens, steps, dimensions)
        everyone = np.ones(len(changes), dtype=bool)
        tested = [
            _tested(changes[chosen], sample.documents[chosen])
            for chosen in (everyone, sample.documents % 2 == 0, sample.documents % 2 == 1)
        ]
        kinds = [dimensions.kinds(*one) for one in tested]
        own, first, second = (dimensions.shares(one) for one in kinds)
        null = dimensions.null_shares(*tested[0], draws, rng)
        bounds = np.quantile(null, UPPER, axis=0)
        for number, kind in enumerate(dimensions.KINDS):
            rows += [
                (0, f"{kind}, {name}", "dimension_share", 100 * own[number]),
                (0, f"{kind}, {name}", "dimension_share_null", 100 * null[:, number].mean()),
                (0, f"{kind}, {name}", "dimension_share_null_bound", 100 * bounds[number]),
            ]
        rows += [
            (0, name, "split_half_agreement", 100 * (kinds[1] == kinds[2]).mean()),
            (0, name, "split_half_chance", 100 * first @ second),
        ]
        if name == "trained":
            beyond = [own[kind] > bounds[kind] for kind in (0, 1)]
    return [*rows, (0, "test", "dimension_types_exceed_null", float(all(beyond)))]


def _tested(changes: np.ndarray, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean changes of each dimension at each step, and what they must exceed."""
    return changes.mean(0), CERTAINTY * dimensions.clustered_error(changes, texts)


def difficulty(sample: Sample, rarity: np.ndarray) -> Rows:
    """Return experiment 5: how far rare tokens are moved, and common ones.

    The claim holds where the rarest third is moved further than the commonest, and rarity goes with
    the length of the path at the same position, both with the whole interval.

    Parameters
    ----------
    sample : Sample
    rarity : ndarray, shape (tokens,)
        Of the hidden tokens, in the training text.
    """
    classes = thirds(rarity)
    hard, easy = ((classes == kind).astype(float) for kind in (2, 0))
    rows: Rows = []
    lows: dict[str, list] = {}
    for name, found in sample.found.items():
        moved = measures.relative_updates(found["state"]).astype(float)
        path = moved.sum(0)
        for kind, title in enumerate(CLASSES):
            own = moved[:, classes == kind]
            split = f"{title}, {name}"
            rows += [(n, split, "relative_update", one.mean()) for n, one in enumerate(own, 1)]
            rows.append((0, split, "path_length", own.sum(0).mean()))
        drawn = [sample.resample(path * group) / sample.resample(group) for group in (hard, easy)]
        gap = path[classes == 2].mean() - path[classes == 0].mean()
        at_place = (within(values, sample.positions) for values in (rarity, path))
        value, influence = correlation(*at_place)
        lows[name] = [np.quantile(drawn[0] - drawn[1], LOWER), value + sample.low(influence)]
        rows += [
            (0, name, "path_beyond_easy", gap),
            (0, name, "path_beyond_easy_low", lows[name][0]),
            (0, name, "rarity_correlation", value),
            (0, name, "rarity_correlation_low", lows[name][1]),
        ]
    more = float(all(low > 0 for low in lows["trained"]))
    return [*rows, (0, "test", "hard_tokens_change_more", more)]


def accumulation(sample: Sample) -> Rows:
    """Return experiment 8: how states grow, and how straight they go.

    The claim holds where states get longer at every step, and longer in the end than under the
    untrained refiner, both with the whole interval.

    Parameters
    ----------
    sample : Sample
    """
    rows: Rows = []
    lows = {}
    by_metric = {"state_growth": measures.growth, "straightness": measures.straightness}
    for metric, measure in by_metric.items():
        own = {name: measure(found["state"]) for name, found in sample.found.items()}
        beyond = own["trained"] - own[CONTROL]
        lows[metric] = sample.low(beyond)
        rows += [(0, name, metric, float(values.mean())) for name, values in own.items()]
        rows += [
            (0, "test", f"{metric}_beyond_random", float(beyond.mean())),
            (0, "test", f"{metric}_beyond_random_low", lows[metric]),
        ]
    lengths = np.linalg.norm(sample.found["trained"]["state"], axis=-1)
    rises = all(sample.low(change) > 0 for change in np.diff(lengths, axis=0))
    holds = float(rises and lows["state_growth"] > 0)
    return [*rows, (0, "test", "activity_accumulates_beyond_random", holds)]


def neighbour_correlations(
    sample: Sample, probabilities: np.ndarray, draws: int, rng: np.random.Generator
) -> Rows:
    """Return how the probability of masked tokens goes with that of the masked ones beside them.

    Within a text it is less than nothing even where neighbours do not matter, since a token is part
    of its text's mean: what is left when tokens are shuffled within texts tells how much.

    Parameters
    ----------
    sample : Sample
    probabilities : ndarray, shape (tokens,)
        Of the hidden tokens.
    draws : int
        How often they are shuffled.
    rng : numpy.random.Generator

    Returns
    -------
    list of tuple
        Rows over all tokens, within texts, and within texts whose tokens are shuffled.
    """
    between = np.flatnonzero(sample.texts[:-2] == sample.texts[2:]) + 1

    def correlated(values: np.ndarray, groups: np.ndarray) -> float:
        own, beside = values[between], (values[between - 1] + values[between + 1]) / 2
        return correlation(within(own, groups), within(beside, groups))[0]

    inside = sample.texts[between]
    shuffled = [
        correlated(probabilities[np.lexsort((rng.random(len(sample.texts)), sample.texts))], inside)
        for _ in range(draws)
    ]
    return [
        (0, "all", "neighbour_correlation", correlated(probabilities, np.zeros_like(inside))),
        (0, "within a text", "neighbour_correlation", correlated(probabilities, inside)),
        (0, "within a text, shuffled", "neighbour_correlation", float(np.mean(shuffled))),
    ]


def entropy(sample: Sample, right: np.ndarray, confidences: np.ndarray) -> Rows:
    """Return experiment 10: whether the entropy of gates tells right predictions from wrong ones.

    The claim holds where the last step's entropy, the lower the better, tells them apart better
    than chance, and still goes with them at the same length of the state, which scales the gates'
    logits; both with the whole interval.

    Parameters
    ----------
    sample : Sample
    right : ndarray of bool, shape (tokens,)
        Whether the trained model is right in the end.
    confidences : ndarray, shape (tokens,)
        Its highest probability: what entropy must stand beside.
    """
    entropies = {name: measures.binary_entropy(own["gate"]) for name, own in sample.found.items()}
    rows: Rows = [
        (step, f"{title}, {name}", "gate_entropy", float(own[chosen].mean()))
        for name, by_step in entropies.items()
        for step, own in enumerate(by_step, start=1)
        for title, chosen in (("right", right), ("wrong", ~right))
        if chosen.any()
    ]
    scores = {(0, "confidence"): confidences}
    for name, by_step in entropies.items():
        scores |= {(step, f"gate, {name}"): -own for step, own in enumerate(by_step, start=1)}
    lows = {}
    for place, score in scores.items():
        value, influence = area_under_curve(score, right)
        lows[place] = value + sample.low(influence)
        rows += [(*place, "area_under_curve", value), (*place, "area_under_curve_low", lows[place])]
    last, highs = entropies["trained"][-1], {}
    length = np.linalg.norm(sample.found["trained"]["state"][-1], axis=-1).astype(float)
    alone = (last, right.astype(float))
    beyond = tuple(residual(values, length) for values in alone)
    for name, pair in (("alone", alone), ("beyond length", beyond)):
        value, influence = correlation(*pair)
        highs[name] = value + sample.high(influence)
        rows += [
            (0, name, "entropy_correlation", value),
            (0, name, "entropy_correlation_high", highs[name]),
        ]
    steps = len(entropies["trained"])
    marks = float(lows[steps, "gate, trained"] > 0.5 and highs["beyond length"] < 0)
    return [*rows, (0, "test", "low_entropy_marks_easy", marks)]
