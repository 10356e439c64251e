"""What the chapter on gate specificity says, made from the numbers."""

import numpy as np
import pandas as pd

from plasticity.companion.statistics import Interval, mean_interval, summarise, values_by_seed
from plasticity.companion.tables import cell
from plasticity.experiments.pnn_gate_specificity import MATCHED, SCALES, STRUCTURED

TRAINED, UNTRAINED = "pnn", "pnn_untrained"
POINTS = "{:+.1f}"


def _interval(rows: pd.DataFrame, metric: str, split: str, variant: str = TRAINED) -> Interval:
    return mean_interval(values_by_seed(rows, metric, variant, split, 0).to_numpy())


def _said(interval: Interval, form: str = POINTS) -> str:
    return cell(interval.mean, interval.low, interval.high, form)


def structured(rows: pd.DataFrame) -> pd.DataFrame:
    """Set out what each change of the gate costs, alone and beyond scalings of its size.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_gate_specificity``.

    Returns
    -------
    DataFrame
        Texts, one row for each change: points of accuracy with their interval over seeds.
    """
    lines = {}
    for name in STRUCTURED:
        lines[name] = {
            "size": f"{_interval(rows, 'relative_size', name).mean:.2f}",
            "costs": _said(_interval(rows, "accuracy_drop", name), "{:.1f}"),
            **{
                f"beyond {side}": _said(_interval(rows, "drop_difference", f"{name}, {side}"))
                for side in MATCHED
            },
        }
        if (rows["variant"] == UNTRAINED).any():
            cost = _interval(rows, "accuracy_drop", name, UNTRAINED)
            lines[name]["untrained"] = _said(cost, "{:.1f}")
    return pd.DataFrame.from_dict(lines, orient="index")


def random_changes(rows: pd.DataFrame) -> pd.DataFrame:
    """Set out what changes drawn at random cost, those that keep the mean gate beside the others.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_gate_specificity``.

    Returns
    -------
    DataFrame
        Texts, one row for each change.
    """
    own = summarise(rows[(rows["variant"] == TRAINED) & (rows["step"] == 0)])
    found = own.set_index(["metric", "split"])
    lines = {}
    for name in found.loc["accuracy_drop"].index:
        if "dropped" in name or "noise" in name:
            cost = found.loc[("accuracy_drop", name)]
            lines[name] = {
                "size": f"{found.loc[('relative_size', name), 'mean']:.2f}",
                "costs": cell(cost["mean"], cost["low"], cost["high"], "{:.1f}"),
            }
    return pd.DataFrame.from_dict(lines, orient="index")


def specificity(rows: pd.DataFrame) -> str:
    """Say in Markdown whether the gate chooses, as released and with sizes matched.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_gate_specificity``.

    Returns
    -------
    str
        A list of sentences, failures included.
    """
    sentences = (
        _as_released(rows),
        _sizes(rows),
        _opposite(rows),
        _survives(rows),
        _token(rows),
        _rescaled(rows),
        _untrained(rows),
    )
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _seeds_where(rows: pd.DataFrame, metric: str, split: str) -> tuple[int, int]:
    held = values_by_seed(rows, metric, TRAINED, split, 0)
    return int(held.sum()), len(held)


def _as_released(rows: pd.DataFrame) -> str:
    anti = _interval(rows, "released_accuracy_drop", "anti_gate")
    scaled = {p: _interval(rows, "released_accuracy_drop", f"scale_{p}").mean for p in SCALES}
    worst = max(scaled, key=scaled.get)
    held, seeds = _seeds_where(rows, "anti_gate_worst_as_released", "validation")
    return (
        f"**As released**, the opposite gate costs {_said(anti, '{:.1f}')} points, the costliest "
        f"scaling ({worst} %) {scaled[worst]:.1f}: by the reference's rule the gate selects, in "
        f"{held} of {seeds} seeds."
    )


def _sizes(rows: pd.DataFrame) -> str:
    size = _interval(rows, "relative_size", "opposite").mean
    largest = max(_interval(rows, "relative_size", f"scaled by {p / 100:.2f}").mean for p in SCALES)
    return (
        f"That rule compares unlike things: the opposite gate moves an update by {size:.1f} times "
        f"its length, the largest scaling by {largest:.1f}."
    )


def _opposite(rows: pd.DataFrame) -> str:
    cost = _interval(rows, "accuracy_drop", "opposite")
    parts = " and ".join(
        f"{_said(_interval(rows, 'drop_difference', f'opposite, {side}'))} beyond the same length "
        f"{side}"
        for side in MATCHED
    )
    return (
        f"**On the same masks and at the same size**, it costs {_said(cost, '{:.1f}')} points: "
        f"{parts} along the update."
    )


def _survives(rows: pd.DataFrame) -> str:
    held, seeds = _seeds_where(rows, "anti_gate_worse_than_matched_scaling", "test")
    if held == seeds:
        verdict = "**The conclusion survives**: the opposite gate is worse than both"
    elif held == 0:
        verdict = "**The conclusion does not survive**: the opposite gate is not worse than both"
    else:
        verdict = "**The conclusion is not settled**: the opposite gate is worse than both"
    counted = f"{held} of {seeds} seeds" if 0 < held < seeds else f"all {seeds} seeds"
    return f"{verdict} scalings of its size, the whole interval above 0, in {counted}."


def _token(rows: pd.DataFrame) -> str:
    clear = {}
    for name in ("tokens shuffled", "mean of the dimension"):
        found = [_interval(rows, "drop_difference", f"{name}, {side}") for side in MATCHED]
        clear[name] = min(found, key=lambda one: one.mean)
    lows = [
        values_by_seed(rows, "drop_difference_low", TRAINED, f"{name}, {side}", 0).to_numpy()
        for name in clear
        for side in MATCHED
    ]
    held = (np.stack(lows) > 0).all(0)
    shuffled, profile = clear.values()
    meaning = (
        "so which dimensions are open depends on the token, and that matters"
        if held.all()
        else "so a fixed profile may be all that matters"
    )
    return (
        f"Giving each token another token's gate costs {_said(shuffled)} beyond the worse scaling "
        f"of its size, giving all the mean of the dimension {_said(profile)}; both intervals are "
        f"above 0 in {held.sum()} of {len(held)} seeds, {meaning}."
    )


def _rescaled(rows: pd.DataFrame) -> str:
    plain = _interval(rows, "accuracy_drop", "50 % dropped")
    rescaled = _interval(rows, "accuracy_drop", "50 % dropped, rescaled")
    side = "more" if rescaled.mean > plain.mean else "less"
    return (
        f"Dropping half of the gates costs {_said(plain, '{:.1f}')} points as released, where the "
        f"mean falls too, and {_said(rescaled, '{:.1f}')} where the rest is doubled: {side}."
    )


def _untrained(rows: pd.DataFrame) -> str:
    own = rows[(rows["variant"] == UNTRAINED) & (rows["metric"] == "accuracy_drop")]
    if own.empty:
        return "The **untrained** model was not measured."
    means = own.groupby(["step", "split"])["value"].mean()
    return (
        f"An **untrained** model, which is at the constant guess at best, loses {means.min():.1f} "
        f"to {means.max():.1f} points by any of these changes."
    )
