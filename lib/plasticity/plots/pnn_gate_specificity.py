"""Figures of gate specificity: tidy rows of ``pnn_gate_specificity`` in, a Figure out."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from plasticity.plots.style import (
    PALETTE,
    error_bars,
    line_with_band,
    panels,
    style,
    with_bounds,
)

BLUE, ORANGE, GREEN, GREY = PALETTE[0], PALETTE[1], PALETTE[2], "#777777"
SIDES = {"forward": (BLUE, "^"), "backward": (ORANGE, "v")}
SIDE_LABELS = {
    "forward": "against the same length forward",
    "backward": "against the same length backward",
}
POINTS = "points of accuracy lost"


def _of(summary: pd.DataFrame, metric: str, variant: str = "pnn", step: int = 0) -> pd.DataFrame:
    """Return mean, low and high of each arm; of one seed, which has no interval, the mean alone."""
    chosen = (summary["variant"] == variant) & (summary["metric"] == metric)
    return with_bounds(summary[chosen & (summary["step"] == step)].set_index("split"))


def nine_panels(summary: pd.DataFrame) -> Figure:
    """Draw the released script's figure: seven panels of drops, two in place of its conclusions.

    Parameters
    ----------
    summary : DataFrame
        Columns variant, split, step, metric, mean, low, high, over seeds.

    Returns
    -------
    Figure
        Three by three panels, in the reference's order; the last two, which hold fixed texts
        there, show the sizes of the changes, and the opposite gate beside scalings of its size.
    """
    drops = _of(summary, "released_accuracy_drop")
    single = {"anti_gate": "opposite", "pattern_shuffling": "shuffled", "uniform_gate": "uniform"}
    with style():
        figure, grid = plt.subplots(3, 3, figsize=(10.5, 9))
        axes = grid.ravel()
        for place, prefix, title, unit in (
            (0, "dropout", "Dropout", "gates set to 0 (%)"),
            (2, "noise", "Noise", "deviation (× 100)"),
            (5, "scale", "Magnitude", "scaled to (%)"),
        ):
            found = drops[drops.index.str.startswith(prefix)]
            x = found.index.str.rsplit("_").str[-1].astype(int)
            line_with_band(axes[place], found, x, BLUE, title)
            axes[place].set(title=title, xlabel=unit, ylabel=POINTS)
        for place, name in ((1, "anti_gate"), (3, "pattern_shuffling"), (4, "uniform_gate")):
            found = drops.loc[[name]]
            axes[place].bar([single[name]], found["mean"], 0.4, color=ORANGE)
            axes[place].errorbar([0], found["mean"], error_bars(found), fmt="none", color="black")
            axes[place].set(title=single[name].capitalize(), ylabel=POINTS, xlim=(-0.7, 0.7))
        found = drops.loc[list(single)]
        axes[6].barh(list(single.values()), found["mean"], color=ORANGE)
        axes[6].set(title="All three", xlabel=POINTS)
        _sizes(axes[7], summary)
        _opposite(axes[8], summary)
        for one in (axes[0], axes[2], axes[5]):
            one.axhline(0, color="black", lw=0.8)
        top = 1.12 * max(drops["high"].max(), 0.1)
        for one in axes[:6]:
            one.set_ylim(min(0, 1.2 * drops["mean"].min()), top)
    return figure


def _sizes(axes, summary: pd.DataFrame) -> None:
    """Draw how far the released changes move an update."""
    sizes = _of(summary, "relative_size")["mean"]
    shown = {
        "scaled to 25 %": "scaled by 0.25",
        "scaled to 200 %": "scaled by 2.00",
        "uniform": "mean of the token",
        "shuffled": "dimensions shuffled",
        "opposite": "opposite",
    }
    axes.barh(list(shown), [sizes[name] for name in shown.values()], color=GREY)
    axes.set(title="How far an update is moved", xlabel="in its own length")


def _opposite(axes, summary: pd.DataFrame) -> None:
    """Draw what the opposite gate costs beside what scalings of its size cost."""
    drops = _of(summary, "accuracy_drop")
    names = {"opposite": "opposite", **{f"opposite, {side}": side for side in SIDES}}
    found = drops.loc[list(names)]
    axes.bar(list(names.values()), found["mean"], 0.6, color=[ORANGE, GREY, GREY])
    axes.errorbar(range(3), found["mean"], error_bars(found), fmt="none", color="black", capsize=3)
    axes.set(title="At the same size, same masks", ylabel=POINTS)


def contrasts(summary: pd.DataFrame, names: tuple[str, ...]) -> Figure:
    """Draw what each change of the gate costs beyond scalings of its size.

    Parameters
    ----------
    summary : DataFrame
        As for `nine_panels`.
    names : tuple of str
        The changes, from top to bottom.

    Returns
    -------
    Figure
        Trained and untrained, as far as they are measured, with 95 % intervals over seeds.
    """
    titles = {"pnn": "Trained", "pnn_untrained": "Untrained"}
    titles = {name: title for name, title in titles.items() if name in set(summary["variant"])}
    with style():
        figure, axes = panels(len(titles), width=5.2, height=3.6)
        places = np.arange(len(names))[::-1]
        for one, (variant, title) in zip(axes, titles.items(), strict=True):
            found = _of(summary, "drop_difference", variant)
            for shift, (side, (colour, marker)) in zip((0.12, -0.12), SIDES.items(), strict=True):
                own = found.loc[[f"{name}, {side}" for name in names]]
                one.errorbar(
                    own["mean"],
                    places + shift,
                    xerr=error_bars(own),
                    fmt=marker,
                    color=colour,
                    capsize=2,
                    label=SIDE_LABELS[side],
                )
            one.axvline(0, color="black", lw=0.8)
            one.set_yticks(places, names)
            one.set(title=title, xlabel=f"{POINTS} beyond")
        for other in axes[1:]:
            other.set_yticklabels([])
            other.set_xlim(axes[0].get_xlim())
        figure.legend(
            *axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(axes)
        )
    return figure


def dose(summary: pd.DataFrame) -> Figure:
    """Draw the loss against the size of the change, and by the step at which it acts.

    Parameters
    ----------
    summary : DataFrame
        As for `nine_panels`.

    Returns
    -------
    Figure
        Left: from the gate towards its opposite, scalings of the same size, and random changes.
        Right: the opposite gate at one step only.
    """
    drops, sizes = _of(summary, "accuracy_drop"), _of(summary, "relative_size")["mean"]
    shares = [name for name in drops.index if name.endswith("opposite") and "%" in name]
    towards = [*sorted(shares, key=lambda name: int(name.split()[0])), "opposite"]
    with style():
        figure, (left, right) = panels(2, width=5, height=3.8)
        line_with_band(left, drops.loc[towards], sizes[towards], GREEN, "towards the opposite gate")
        for side, (colour, marker) in SIDES.items():
            own = [f"{name}, {side}" for name in towards]
            line_with_band(
                left, drops.loc[own], sizes[own], colour, f"{side}, along the update", f"{marker}-"
            )
        drawn = [name for name in drops.index if "dropped" in name or "noise" in name]
        left.scatter(sizes[drawn], drops.loc[drawn, "mean"], color=GREY, s=18, label="at random")
        left.axhline(0, color="black", lw=0.8)
        left.set(xlabel="size of the change (update's length)", ylabel=POINTS)
        left.set_title("By size")
        left.legend(fontsize=8)
        steps = sorted(step for step in summary["step"].unique() if step > 0)
        names = {"opposite": (GREEN, "o", "opposite")}
        names |= {f"opposite, {side}": (*SIDES[side], side) for side in SIDES}
        for name, (colour, marker, label) in names.items():
            own = pd.concat([_of(summary, "accuracy_drop", step=s).loc[[name]] for s in steps])
            line_with_band(right, own, steps, colour, label, f"{marker}-")
        right.axhline(0, color="black", lw=0.8)
        right.set(xlabel="the one step that is changed", ylabel=POINTS, title="By step")
        right.set_xticks(steps)
        right.legend(fontsize=8)
    return figure
