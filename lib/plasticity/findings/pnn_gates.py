"""What the chapter on gates says, made from the numbers."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from plasticity.companion.statistics import (
    Interval,
    mean_interval,
    paired_difference,
    summarise,
    values_by_seed,
)
from plasticity.companion.tables import cell, interval_cell
from plasticity.experiments.pnn_gates import SOURCE_ACTIVE_SHARE, place

PAPER = "paper, padding counted"
NULL = "untrained PNN, {}"
# Parts of the variance that are the same for every token.
PROFILE = ("step", "dimension", "step_dimension")


def by_step(
    rows: pd.DataFrame,
    metric: str,
    form: str,
    source: tuple[float, ...],
    populations: Mapping[str, str],
) -> pd.DataFrame:
    """Set out a quantity of the gate by step: the paper, each population, the untrained model.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_gates``.
    metric : str
        A metric that is recorded for every population and step.
    form : str
        Format of each number.
    source : tuple of float
        The paper's values, step 1 first.
    populations : mapping of str to str
        Names to show for the populations, in their order.

    Returns
    -------
    DataFrame
        Texts, one row for each population and one column for each step.
    """
    found = summarise(rows[rows["metric"] == metric]).set_index(["variant", "split", "step"])
    steps = sorted(set(found.index.get_level_values("step")))
    printed = dict(enumerate((form.format(value) for value in source), start=1))
    lines = {PAPER: [printed.get(step, "—") for step in steps]}
    shown = {("pnn", population): name for population, name in populations.items()}
    shown["pnn_untrained", "test"] = NULL.format(populations["test"])
    for (variant, population), name in shown.items():
        own = [found.loc[(variant, population, step)] for step in steps]
        lines[name] = [cell(one["mean"], one["low"], one["high"], form) for one in own]
    return pd.DataFrame.from_dict(lines, orient="index", columns=[f"step {step}" for step in steps])


def modes(rows: pd.DataFrame, populations: Mapping[str, str]) -> pd.DataFrame:
    """Set out how many modes the token means of the trained model have.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_gates``.
    populations : mapping of str to str
        Names to show for the populations.

    Returns
    -------
    DataFrame
        Texts, one row for each population: positions, and at each step the number of modes, or
        the fewest and the most where the seeds disagree.
    """
    own = rows[rows["variant"] == "pnn"]
    counts = own[own["metric"] == "gate_modes"].groupby(["split", "step"])["value"]
    positions = own[own["metric"] == "tokens"].groupby("split")["value"].first()
    lines = {}
    for population, name in populations.items():
        line = {"positions": f"{positions[population]:,.0f}"}
        for (split, step), values in counts:
            if split == population:
                ends = dict.fromkeys((f"{values.min():.0f}", f"{values.max():.0f}"))
                line[f"modes at step {step}"] = " to ".join(ends)
        lines[name] = line
    return pd.DataFrame.from_dict(lines, orient="index")


def gates(rows: pd.DataFrame) -> str:
    """Say in Markdown what the gates came to.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_gates``, with the variants ``pnn`` and ``pnn_untrained``.

    Returns
    -------
    str
        A list of sentences, failures included.
    """
    last = int(rows.loc[rows["metric"] == "gate_mean", "step"].max())
    sentences = (
        _course(rows),
        _against_null(rows),
        _distance(rows, last),
        _masked(rows, last),
        _without_padding(rows, last),
        _padding(rows, last),
        _variance(rows),
    )
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _course(rows: pd.DataFrame) -> str:
    """Compare the active share's course over the steps with the paper's."""
    chosen = _of(rows, "pnn", "test", "gate_active_share")
    by_seed = chosen.pivot_table(index="seed", columns="step", values="value")
    ours, theirs = by_seed.mean().to_numpy(), np.array(SOURCE_ACTIVE_SHARE)
    alike = [_rebounds(values) for values in by_seed.to_numpy()]
    return (
        f"The share of active gates goes {_arrows(ours)} % over the steps, without padding; the "
        f"paper's, with it, {_arrows(theirs)} %. The paper's {_described(theirs)}; ours "
        f"{_described(ours)}. A fall that ends in a rise, as in the paper, shows in "
        f"{_share(alike)}."
    )


def _against_null(rows: pd.DataFrame) -> str:
    """Compare the active share with that of the same model before training."""
    steps = sorted(set(_of(rows, "pnn", "test", "gate_active_share")["step"]))
    differences = {
        step: paired_difference(rows, "gate_active_share", "pnn", "pnn_untrained", "test", step)
        for step in steps
    }
    null = _of(rows, "pnn_untrained", "test", "gate_active_share")["value"]
    texts = ", ".join(interval_cell(found, "{:+.1f}") for found in differences.values())
    if any(np.isnan(found.low) for found in differences.values()):
        verdict = "one seed, so no interval"
    else:
        sides = {
            "fewer": [step for step, found in differences.items() if found.high < 0],
            "more": [step for step, found in differences.items() if found.low > 0],
        }
        parts = [f"{side} active at {_listed(found)}" for side, found in sides.items() if found]
        told = f"training leaves {' and '.join(parts)}" if parts else "no difference can be told"
        rest = len(steps) - sum(len(found) for found in sides.values())
        verdict = told + (", and elsewhere none can be told" if parts and rest else "")
    return (
        f"Active gates minus those of the same model before training, by step: {texts} points: "
        f"{verdict}. Before training the share lies between {null.min():.1f} and "
        f"{null.max():.1f} %, depending on seed and step."
    )


def _distance(rows: pd.DataFrame, last: int) -> str:
    metric = "gate_distance_from_half"
    found = paired_difference(rows, metric, "pnn", "pnn_untrained", "test", last)
    ours, null = (
        values_by_seed(rows, metric, variant, "test", last).mean()
        for variant in ("pnn", "pnn_untrained")
    )
    side = _side(found, "gates are more decided after training", "less decided after training")
    return (
        f"At the last step a gate is {ours:.3f} away from one half on average, {null:.3f} before "
        f"training; the difference is {interval_cell(found, '{:+.3f}')}: {side}."
    )


def _masked(rows: pd.DataFrame, last: int) -> str:
    hidden, shown = (
        values_by_seed(rows, "gate_active_share", "pnn", population, last)
        for population in ("masked", "unmasked")
    )
    found = mean_interval((hidden - shown).to_numpy())
    side = _side(found, "masked tokens have more active gates", "masked tokens have fewer")
    return (
        f"At the last step {hidden.mean():.1f} % of the gates of masked tokens are active and "
        f"{shown.mean():.1f} % of those of unmasked ones; the difference is "
        f"{interval_cell(found, '{:+.1f}')} points: {side}."
    )


def _without_padding(rows: pd.DataFrame, last: int) -> str:
    several = {
        population: values_by_seed(rows, "gate_modes", "pnn", population, last) > 1
        for population in ("test", "masked", "unmasked")
    }
    sentence = (
        "Without padding, the token means of the last step have more than one mode in "
        f"{_share(several['test'])} (masked tokens alone: {_share(several['masked'])}; unmasked "
        f"tokens alone: {_share(several['unmasked'])})."
    )
    if several["test"].any():
        at = _of(rows, "pnn", place("test", last), "gate_mode")
        places = at[at["seed"].isin(several["test"].index[several["test"]])].groupby("seed")
        texts = [", ".join(f"{value:.2f}" for value in own["value"]) for _, own in places]
        return f"{sentence} They lie at {'; '.join(texts)}."
    return sentence


def _padding(rows: pd.DataFrame, last: int) -> str:
    made = values_by_seed(rows, "padding_makes_second_mode", "pnn", "with_padding", 0) == 1
    share = values_by_seed(rows, "padding_share", "pnn", "with_padding", 0).mean()
    padding, tokens = (
        values_by_seed(rows, "gate_mean", "pnn", population, last).mean()
        for population in ("padding", "without_padding")
    )
    if made.all():
        verdict = "padding makes a mode here that the tokens do not have"
    elif made.any():
        verdict = "the seeds disagree on what padding does"
    else:
        verdict = "in this model padding does not make the paper's second mode"
    return (
        f"In padded lines, where {share:.0f} % of the positions are padding, counting the padding "
        f"adds a mode at the last step in {_share(made)}: {verdict}. There the gate of padding "
        f"averages {padding:.3f}, and that of the tokens {tokens:.3f}."
    )


def _variance(rows: pd.DataFrame) -> str:
    shares = rows[rows["metric"] == "gate_variance_share"].groupby(["variant", "split"])["value"]
    mean = shares.mean()

    def profile(variant: str, population: str) -> float:
        return sum(mean[variant, f"{population}, {part}"] for part in PROFILE)

    masked, unmasked = profile("pnn", "masked"), profile("pnn", "unmasked")
    return (
        f"A profile of dimensions and steps that is the same for every token explains "
        f"{masked:.0f} % of the gate's variance at masked tokens and {unmasked:.0f} % at unmasked "
        f"ones; before training {profile('pnn_untrained', 'masked'):.0f} and "
        f"{profile('pnn_untrained', 'unmasked'):.0f} %. The rest depends on the token: its overall "
        f"level accounts for {mean['pnn', 'masked, token']:.0f} and "
        f"{mean['pnn', 'unmasked, token']:.0f} %, and the dimensions that it opens at every step "
        f"for {mean['pnn', 'masked, dimension_token']:.0f} and "
        f"{mean['pnn', 'unmasked, dimension_token']:.0f} %."
    )


def _of(rows: pd.DataFrame, variant: str, population: str, metric: str) -> pd.DataFrame:
    chosen = (rows["variant"] == variant) & (rows["metric"] == metric)
    return rows[chosen & (rows["split"] == population)].sort_values("step")


def _rebounds(values: np.ndarray) -> bool:
    """Return whether values fall to a step between the ends and rise from there."""
    lowest, changes = int(np.argmin(values)), np.diff(values)
    inside = 0 < lowest < len(values) - 1
    return bool(inside and (changes[:lowest] < 0).all() and (changes[lowest:] > 0).all())


def _described(values: np.ndarray) -> str:
    changes = np.diff(values)
    if len(changes) == 0:
        return "has a single step"
    if _rebounds(values):
        return f"falls until step {int(np.argmin(values)) + 1} and then rises"
    if (changes < 0).all():
        return "falls at every step"
    if (changes > 0).all():
        return "rises at every step"
    if _rebounds(-values):
        return f"rises until step {int(np.argmax(values)) + 1} and then falls"
    return "goes up and down"


def _arrows(values: np.ndarray) -> str:
    return " → ".join(f"{value:.1f}" for value in values)


def _listed(steps: list[int]) -> str:
    if len(steps) == 1:
        return f"step {steps[0]}"
    return f"steps {', '.join(map(str, steps[:-1]))} and {steps[-1]}"


def _share(held) -> str:
    """Return in how many seeds something holds."""
    return f"{int(np.sum(held))} of {len(held)} seed{'s' if len(held) > 1 else ''}"


def _side(found: Interval, above: str, below: str) -> str:
    if np.isnan(found.low):
        return "one seed, so no interval"
    if found.low > 0:
        return above
    return below if found.high < 0 else "no difference can be told"
