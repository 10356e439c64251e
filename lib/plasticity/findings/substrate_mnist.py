"""What the chapter on digits says, made from the numbers."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from plasticity.companion.statistics import (
    Interval,
    mean_interval,
    paired_difference,
    values_by_seed,
)
from plasticity.companion.tables import cell
from plasticity.experiments.substrate_mnist import PEERS, SOURCE_ACCURACY, Config

# What the source says, and what this project set out to reach.
SOURCE = {"accuracy": SOURCE_ACCURACY, "kilobytes": 501.0, "seconds": 60.0}
GOALS = {"filters": (200.0, 99.35), "filters_small": (24.0, 99.0)}  # kilobytes, percent
GOAL_SECONDS = 60.0
CLOSE = 0.9  # cosine
PEER_NAMES = {
    "svm": "a linear SVM",
    "neighbours": "3 nearest neighbours",
    "perceptron": "a perceptron with 256 hidden units",
}
WHOLE = "filters_held_out"
PARTS = {
    "as_they_lie": "digits as they lie, not upright",
    "still": "no moves at random",
    "one_bank": "one bank of filters, not two",
    "random_filters": "random filters, not learnt",
    "hard_blocks": "blocks that do not overlap",
    "eight_bits": "votes of eight bits, not four",
}


def learners(
    rows: pd.DataFrame, names: Mapping[str, str], configs: Mapping[str, Config]
) -> pd.DataFrame:
    """Set out what every learner reaches on the test, and what it costs.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows.
    names : mapping of str to str
        Names to show for the variants.
    configs : mapping of str to Config
        By variant, for how many digits each learnt from.

    Returns
    -------
    DataFrame
        Texts: accuracy in percent with its interval, kilobytes, seconds to learn, cores used.
    """
    lines = {}
    for variant, name in names.items():
        accuracy = _of(rows, "accuracy", variant, "test")
        if accuracy is None:
            continue
        costs = [("kilobytes", "packed"), ("seconds", "train"), ("cores_used", "train")]
        found = [_of(rows, metric, variant, split) for metric, split in costs]
        size, seconds, cores = (one.mean for one in found)
        lines[name] = [
            _digits(configs[variant]),
            _text(accuracy),
            f"{size:,.1f}",
            f"{seconds:,.1f}",
            f"{cores:.1f}",
            str(accuracy.count),
        ]
    columns = ["digits learnt", "test, %", "kilobytes", "seconds to learn", "cores used", "seeds"]
    return pd.DataFrame.from_dict(lines, orient="index", columns=columns)


def differences(rows: pd.DataFrame) -> pd.DataFrame:
    """Return accuracy without each part minus that of the whole, on digits held out, by seed.

    Returns
    -------
    DataFrame
        Index: what is changed. Columns mean, low, high, in points.
    """
    found, measured = {}, set(rows["variant"])
    for variant, name in PARTS.items():
        if {variant, WHOLE} <= measured:
            one = paired_difference(rows, "accuracy", variant, WHOLE, "validation")
            found[name] = (one.mean, one.low, one.high)
    return pd.DataFrame.from_dict(found, orient="index", columns=["mean", "low", "high"])


def agreement(rows: pd.DataFrame) -> pd.DataFrame:
    """Set out on how many digits of the test spread and the fast path say exactly the same."""
    lines = {}
    for variant in GOALS:
        same, compared = (
            values_by_seed(rows, metric, variant, "test")
            for metric in ("agreeing_digits", "compared_digits")
        )
        for seed in same.index:
            lines[variant, seed] = [f"{compared[seed]:,.0f}", f"{same[seed]:,.0f}"]
    table = pd.DataFrame.from_dict(lines, orient="index", columns=["compared", "exactly equal"])
    table.index = pd.MultiIndex.from_tuples(table.index, names=["learner", "seed"])
    return table


def sentences(rows: pd.DataFrame, configs: Mapping[str, Config]) -> str:
    """Say in Markdown what became of the digits, failures included.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``substrate_mnist``, all its variants.
    configs : mapping of str to Config
        As for `learners`.

    Returns
    -------
    str
    """
    said = [_source(rows), *(_goal(rows, variant) for variant in GOALS), _agreeing(rows)]
    said += [_components(rows), _rounding(rows), _adam(rows), _parts(rows), _peers(rows, configs)]
    return "\n".join(f"- {sentence}" for sentence in said if sentence)


def _of(rows: pd.DataFrame, metric: str, variant: str, split: str) -> Interval | None:
    values = values_by_seed(rows, metric, variant, split)
    return None if values.empty else mean_interval(values.to_numpy())


def _text(found: Interval, form: str = "{:.2f}") -> str:
    return cell(found.mean, found.low, found.high, form)


def _source(rows: pd.DataFrame) -> str:
    accuracy = _of(rows, "accuracy", "reference_recipe", "test")
    size = _of(rows, "kilobytes", "reference_recipe", "packed")
    seconds = _of(rows, "seconds", "reference_recipe", "train")
    reached = "reaches" if accuracy.mean >= SOURCE["accuracy"] else "does not reach"
    return (
        f"The source's recipe {reached} what the source says, {SOURCE['accuracy']} %: "
        f"{_text(accuracy)} %, with {size.mean:,.0f} KB of neurons and synapses (the source says "
        f"{SOURCE['kilobytes']:.0f}), learnt in {seconds.mean:.1f} s (it says "
        f"{SOURCE['seconds']:.0f})."
    )


def _goal(rows: pd.DataFrame, variant: str) -> str:
    kilobytes, goal = GOALS[variant]
    accuracy, size = (
        _of(rows, "accuracy", variant, "test"),
        _of(rows, "kilobytes", variant, "packed"),
    )
    seconds, graph = (
        _of(rows, "seconds", variant, "train"),
        _of(rows, "kilobytes", variant, "graph"),
    )
    checks = {
        "accuracy": accuracy.mean >= goal,
        "size": size.mean <= kilobytes,
        "time": seconds.mean <= GOAL_SECONDS,
    }
    missed = [name for name, met in checks.items() if not met]
    verdict = f"missed: {', '.join(missed)}" if missed else "all met"
    return (
        f"Filters and contexts{', small' * (variant != 'filters')}: {_text(accuracy)} % of the "
        f"test with {size.mean:.1f} KB, learnt in {seconds.mean:.1f} s. The goals "
        f"were {goal} % with {kilobytes:.0f} KB in {GOAL_SECONDS:.0f} s: {verdict}. Laid out as a "
        f"graph, with the filters at every place, it takes "
        f"{graph.mean / 1000:.1f} MB."
    )


def _agreeing(rows: pd.DataFrame) -> str:
    table = agreement(rows)
    equal = (table["compared"] == table["exactly equal"]).all()
    state = "on every one" if equal else "NOT on every one"
    counts = " and ".join(dict.fromkeys(table["compared"]))
    return (
        f"Spread and the fast path agree exactly {state} of the {counts} digits compared in each "
        "run, contexts and whole scores alike."
    )


def _components(rows: pd.DataFrame) -> str:
    own = rows[(rows["variant"] == "filters") & (rows["metric"] == "alignment")]
    close = int((own["value"] >= CLOSE).sum())
    return (
        f"Of {len(own)} filters in all seeds, {close} have a cosine of {CLOSE} or more with the "
        "principal component of their rank, which Sanger's rule tends to; the mean is "
        f"{own['value'].mean():.3f}."
    )


def _rounding(rows: pd.DataFrame) -> str:
    whole = values_by_seed(rows, "accuracy", "filters", "test")
    exact = values_by_seed(rows, "accuracy", "filters", "test, unrounded")
    return (
        "Making votes whole numbers of a few bits changes the accuracy on the test by "
        f"{_text(mean_interval((whole - exact).to_numpy()), '{:+.3f}')} points."
    )


def _adam(rows: pd.DataFrame) -> str:
    found = paired_difference(rows, "accuracy", "adam", "plain", "validation")
    return (
        "Adam's step in the source's recipe, against the mistakes alone, on digits held out: "
        f"{_text(found, '{:+.2f}')} points ({_side(found)})."
    )


def _parts(rows: pd.DataFrame) -> str:
    parts = [f"{name} {cell(*row, '{:+.2f}')}" for name, row in differences(rows).iterrows()]
    listed = "; ".join(parts)
    return f"Taken from the whole, on digits held out, in points: {listed}." if parts else ""


def _digits(config: Config) -> str:
    return f"{config.images:,}" if config.images else "all"


def _peers(rows: pd.DataFrame, configs: Mapping[str, Config]) -> str:
    parts, fewer = [], []
    for peer in PEERS:
        if _of(rows, "accuracy", peer, "test") is not None:
            found = paired_difference(rows, "accuracy", "filters", peer, "test")
            parts.append(f"{PEER_NAMES[peer]} {_text(found, '{:+.2f}')}")
            if configs[peer].images != configs["filters"].images:
                fewer.append(f"{PEER_NAMES[peer]} {_digits(configs[peer])}")
    said = f"Minus each peer on the test, in points: {'; '.join(parts)}."
    if fewer:
        said += (
            f" **Peers learnt from fewer digits here** ({', '.join(fewer)}; the filters from "
            f"{_digits(configs['filters'])}), so that says little; the full study gives all the "
            "same."
        )
    return said if parts else ""


def _side(found: Interval) -> str:
    if np.isnan(found.low):
        return "one seed, so no interval"
    if found.low > 0:
        return "it helps"
    return "it hurts" if found.high < 0 else "no difference can be told"


def mistakes(rows: pd.DataFrame, variant: str, seed: int) -> pd.Series:
    """Return what each digit of the test that was got wrong was taken for, by its place."""
    own = (rows["variant"] == variant) & (rows["seed"] == seed) & (rows["split"] == "mistakes")
    return rows[own].set_index("step")["value"].astype(int).sort_index()
