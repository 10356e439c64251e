"""What the chapter on the released script's experiments says, made from the numbers."""

import pandas as pd

from plasticity.companion.statistics import Interval, mean_interval, values_by_seed
from plasticity.companion.tables import interval_cell
from plasticity.experiments.pnn_evidence import COMPONENTS, WAYS

VARIANT = "pnn"
SIGNED = "{:+.2f}"
CHECKS = {
    "middle_steps_most_selective": (
        "3, selectivity",
        "brain_hypothesis_test/supports_selectivity_hypothesis",
    ),
    "dimension_types_exceed_null": ("4, kinds of dimensions", None),
    "hard_tokens_change_more": ("5, difficulty", None),
    "component_ranking_is_stable": ("6, importance", None),
    "activity_accumulates_beyond_random": (
        "8, accumulation",
        "layerwise_activity_analysis/accumulation_pattern/supports_accumulation_hypothesis",
    ),
    "hard_neighbours_interfere": (
        "9, neighbours",
        "cross_token_interference/interference_effect/hard_tokens_interfere",
    ),
    "low_entropy_marks_easy": (
        "10, entropy of gates",
        "gate_entropy_analysis/confidence_hypothesis/easy_lower_entropy",
    ),
}


def _values(rows: pd.DataFrame, metric: str, split: str, step: int = 0) -> pd.Series:
    return values_by_seed(rows, metric, VARIANT, split, step)


def _interval(rows: pd.DataFrame, metric: str, split: str, step: int = 0) -> Interval:
    return mean_interval(_values(rows, metric, split, step).to_numpy())


def _said(rows: pd.DataFrame, metric: str, split: str, step: int = 0, form: str = SIGNED) -> str:
    found = _interval(rows, metric, split, step)
    return interval_cell(found, form)


def _released(rows: pd.DataFrame, place: str, step: int = 0) -> float:
    """Return the mean over seeds of a number of the script's JSON."""
    return float(_values(rows, "released_evidence", place, step).mean())


def _counted(held: pd.Series) -> str:
    return f"{int(held.sum())} of {len(held)} seeds"


def _survives(rows: pd.DataFrame, check: str, rule: str) -> str:
    """Say whether a conclusion survives, by its check."""
    held = _values(rows, check, "test")
    verdict = "is not settled"
    if held.all():
        verdict = "survives"
    elif not held.any():
        verdict = "does not survive"
    return f"**The conclusion {verdict}**: {rule}, in {_counted(held)}."


def _listed(*sentences: str) -> str:
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _steps(rows: pd.DataFrame) -> int:
    return int(rows.loc[rows["metric"] == "gate_mean", "step"].max())


def verdicts(rows: pd.DataFrame) -> pd.DataFrame:
    """Set out which conclusion holds by the script's rule, and which by that set beforehand.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_evidence``.

    Returns
    -------
    DataFrame
        Texts, one row for each experiment with a conclusion.
    """
    lines = {}
    for check, (title, place) in CHECKS.items():
        released = (
            "no rule" if place is None else _counted(_values(rows, "released_evidence", place))
        )
        lines[title] = {
            "holds as released": released,
            "holds as it should be": _counted(_values(rows, check, "test")),
        }
    return pd.DataFrame.from_dict(lines, orient="index")


def activity(rows: pd.DataFrame) -> str:
    """Say in Markdown what experiment 1 shows.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_evidence``.
    """
    last = _steps(rows)
    places = [f"meg_analysis/{name}/mean" for name in ("hidden_update", "activity_magnitude")]
    moved, update = (_released(rows, place) for place in places)
    first, final = (_said(rows, "relative_update", "trained", n, "{:.2f}") for n in (1, last))
    control = _said(rows, "relative_update", "untrained", last, "{:.2f}")
    norms = [_interval(rows, "proposal_rms", "trained", n).mean for n in range(1, last + 1)]
    return _listed(
        f"**As released**: of its four curves two are one and the same by construction (change of "
        f"state {moved:.4f}, update {update:.4f}), and the first is measured before the norm that "
        "sets its size.",
        "**As it should be**: after that norm proposals have a root mean square of "
        f"{min(norms):.2f} to {max(norms):.2f} at every step. Updates have {first} of the state's "
        f"length at step 1 and {final} at step {last} (untrained: {control}), and the last one "
        f"has a cosine of {_said(rows, 'update_cosine', 'trained', last)} with the one before "
        f"(untrained: {_said(rows, 'update_cosine', 'untrained', last)}).",
    )


def suppression(rows: pd.DataFrame) -> str:
    """Say in Markdown what experiment 2 shows.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_evidence``.
    """
    before = _said(rows, "loss_increase", "ffn before its norm, 75 % suppressed", form="{:+.4f}")
    worst = {
        name: [
            _interval(rows, "loss_increase", f"{name}, at its mean", step).mean
            for step in range(1, _steps(rows) + 1)
        ]
        for name in COMPONENTS
    }
    at_steps = "; ".join(f"{name} {own.index(max(own)) + 1}" for name, own in worst.items())
    baseline = 100 * _released(rows, "optogenetics_results/baseline/accuracy")
    silent = 100 * _released(rows, "optogenetics_results/ffn_suppressed_75/accuracy")
    return _listed(
        f"**As released**, with another mask for every arm, 75 % less of the feed-forward network "
        f"leaves {silent:.1f} % of tokens right where {baseline:.1f} % were: the norm right after "
        f"it undoes every scaling but the one to 0 (same masks: {before} nats).",
        "**As it should be**, after the norm, 75 % less costs "
        + ", ".join(
            f"{_said(rows, 'loss_increase', f'{name}, 75 % suppressed')} nats ({name})"
            for name in COMPONENTS
        )
        + f". A component at its mean costs most at step: {at_steps}.",
    )


def selectivity(rows: pd.DataFrame) -> str:
    """Say in Markdown what experiment 3 shows.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_evidence``.
    """
    place = CHECKS["middle_steps_most_selective"][1]
    held = _values(rows, "released_evidence", place)
    spread = {
        name: ", ".join(
            f"{_interval(rows, 'participation_ratio', f'update, {name}', step).mean:.0f}"
            for step in range(1, _steps(rows) + 1)
        )
        for name in ("trained", "untrained")
    }
    return _listed(
        f"**As released**, the mean state is narrowest at a step in the middle in "
        f"{_counted(held)}; the script counts steps 1 and 2 as the middle, which a guess among "
        f"{_steps(rows)} steps hits in {200 / _steps(rows):.0f} %.",
        f"**As it should be**: by step, {spread['trained']} % of the dimensions take part in the "
        f"update of a token (untrained: {spread['untrained']} %).",
        _survives(
            rows,
            "middle_steps_most_selective",
            "updates are narrowest at a step in the middle, clearly below both the first and the "
            "last",
        ),
    )


def dimensions(rows: pd.DataFrame) -> str:
    """Say in Markdown what experiment 4 shows.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_evidence``.
    """
    counts = {
        kind: _released(rows, f"dimensionwise_analysis/pattern_counts/{kind}")
        for kind in ("accumulator", "selector", "oscillator", "stable")
    }
    parts = [
        f"{_said(rows, 'dimension_share', f'{kind}, trained', form='{:.1f}')} % {kind}s where the "
        f"deals have {_interval(rows, 'dimension_share_null', f'{kind}, trained').mean:.1f}"
        for kind in ("accumulator", "selector")
    ]
    agree = _said(rows, "split_half_agreement", "trained", form="{:.0f}")
    chance = _interval(rows, "split_half_chance", "trained").mean
    return _listed(
        "**As released**: "
        + ", ".join(f"{kind} {count:.0f}" for kind, count in counts.items())
        + " dimensions. States grow at every step, which makes accumulators; nothing can be "
        "stable that changes at all.",
        f"**As it should be**, in units of the state and beyond noise: {'; '.join(parts)}. Two "
        f"halves of the texts agree on {agree} % of the dimensions, where chance gives "
        f"{chance:.0f}.",
        _survives(
            rows,
            "dimension_types_exceed_null",
            "accumulators and selectors are both more common than where signs are dealt out",
        ),
    )


def difficulty(rows: pd.DataFrame) -> str:
    """Say in Markdown what experiment 5 shows.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_evidence``.
    """
    last = _steps(rows)
    place = "token_difficulty_analysis"
    gains = {
        name: _released(rows, f"{place}/{name}/mean", last)
        - _released(rows, f"{place}/{name}/mean", 0)
        for name in ("easy", "hard")
    }
    side = "more" if gains["hard"] > gains["easy"] else "less"
    return _listed(
        f"**As released**, states of hard tokens grow by {gains['hard']:.2f}, of easy ones by "
        f"{gains['easy']:.2f}: {side}. But a longer state makes a surer prediction, since no norm "
        "stands before the head, and sureness is how the classes are made.",
        "**As it should be**, by rarity in the training text, which no model has a part in: the "
        f"rarest third goes {_said(rows, 'path_beyond_easy', 'trained', form='{:+.3f}')} state "
        "lengths further than the commonest, and rarity correlates with the path by "
        f"{_said(rows, 'rarity_correlation', 'trained', form='{:+.3f}')} at the same position "
        f"(untrained: {_said(rows, 'rarity_correlation', 'untrained', form='{:+.3f}')}).",
        _survives(
            rows,
            "hard_tokens_change_more",
            "rare tokens are moved further, by class and by correlation",
        ),
    )


def importance(rows: pd.DataFrame) -> str:
    """Say in Markdown what experiment 6 shows.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_evidence``.
    """
    scores = {
        name: 100
        * _released(rows, f"layer_importance_analysis/{name}/suppression_75/accuracy_drop")
        for name in COMPONENTS
    }
    order = " > ".join(sorted(scores, key=scores.get, reverse=True))
    ways = []
    for way in WAYS:
        costs = {
            name: _interval(rows, "loss_increase", f"{name}, {way}").mean for name in COMPONENTS
        }
        ranked = sorted(costs, key=costs.get, reverse=True)
        ways.append(f"{way}: " + " > ".join(f"{name} ({costs[name]:.2f})" for name in ranked))
    return _listed(
        f"**As released**: {order}, where the feed-forward network costs {scores['ffn']:.1f} "
        "points because its norm undoes the suppression.",
        f"**As it should be**, nats lost a token: {'; '.join(ways)}.",
        _survives(
            rows,
            "component_ranking_is_stable",
            "the three ways of taking a component away give one order, every gap clear",
        ),
    )


def accumulation(rows: pd.DataFrame) -> str:
    """Say in Markdown what experiment 8 shows.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_evidence``.
    """
    place = "layerwise_activity_analysis/accumulation_pattern"
    early, late = (_released(rows, f"{place}/{end}_activity") for end in ("early", "late"))
    return _listed(
        f"**As released**, the mean size of the state goes from {early:.2f} to {late:.2f}; a sum "
        "grows, whatever is added.",
        f"**As it should be**: masked tokens end "
        f"{_said(rows, 'state_growth', 'trained', form='{:.2f}')} times as long as they began, "
        f"with the untrained refiner {_said(rows, 'state_growth', 'untrained', form='{:.2f}')} "
        f"times. Their path is straight to {_said(rows, 'straightness', 'trained', form='{:.2f}')} "
        f"(untrained: {_said(rows, 'straightness', 'untrained', form='{:.2f}')}), where 1 is "
        "straight.",
        _survives(
            rows,
            "activity_accumulates_beyond_random",
            "states grow at every step, and more than with an untrained refiner",
        ),
    )


def neighbours(rows: pd.DataFrame) -> str:
    """Say in Markdown what experiment 9 shows.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_evidence``.
    """
    place = "cross_token_interference/{}_context/mean_performance"
    easy, hard = (_released(rows, place.format(name)) for name in ("easy", "hard"))
    overall, inside, shuffled = (
        _said(rows, "neighbour_correlation", split)
        for split in ("all", "within a text", "within a text, shuffled")
    )
    cost = {
        name: _said(rows, "neighbour_cost", f"{name}, trained", form="{:+.3f}")
        for name in ("hard hidden", "easy hidden", "hard there")
    }
    return _listed(
        f"**As released**, tokens between easy ones have a mean probability of {easy:.2f}, between "
        f"hard ones {hard:.2f}.",
        f"Masked tokens correlate with those beside them by {overall}; within a text, where what "
        f"its tokens share is taken out, by {inside}, and by {shuffled} when they are shuffled.",
        f"**As it should be**, the same token with one neighbour changed: hiding a hard neighbour "
        f"costs {cost['hard hidden']} nats, an easy one {cost['easy hidden']}; a hidden hard one "
        f"costs {cost['hard there']} beyond one that is not there and cannot interfere.",
        _survives(
            rows,
            "hard_neighbours_interfere",
            "a hidden hard neighbour costs more than an easy one, and more than none",
        ),
    )


def entropy(rows: pd.DataFrame) -> str:
    """Say in Markdown what experiment 10 shows.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_evidence``.
    """
    last = _steps(rows)
    gap = _released(rows, "gate_entropy_analysis/confidence_hypothesis/entropy_difference")
    side = "lower" if gap > 0 else "higher"
    areas = [
        _said(rows, "area_under_curve", f"gate, {name}", last, "{:.3f}")
        for name in ("trained", "untrained")
    ]
    confidence = _said(rows, "area_under_curve", "confidence", form="{:.3f}")
    alone, beyond = (
        _said(rows, "entropy_correlation", name, form="{:+.3f}")
        for name in ("alone", "beyond length")
    )
    return _listed(
        f"**As released**, entropy is {side} for easy tokens than for hard ones, by {abs(gap):.4f} "
        "nats.",
        f"**As it should be**: the last step's entropy tells right from wrong with an area under "
        f"the curve of {areas[0]} (an untrained refiner's: {areas[1]}), where the confidence of "
        f"the prediction has {confidence}. Entropy correlates with being right by {alone}, and by "
        f"{beyond} at the same length of the state.",
        _survives(
            rows,
            "low_entropy_marks_easy",
            "low entropy tells right from wrong, and does so at the same length too",
        ),
    )


def everything(rows: pd.DataFrame) -> str:
    """Say in Markdown what each of the nine experiments shows, under its number.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_evidence``.
    """
    parts = {
        1: activity,
        2: suppression,
        3: selectivity,
        4: dimensions,
        5: difficulty,
        6: importance,
        8: accumulation,
        9: neighbours,
        10: entropy,
    }
    return "\n\n".join(f"**Experiment {number}**\n\n{say(rows)}" for number, say in parts.items())
