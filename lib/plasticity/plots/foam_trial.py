"""Figures of the fair trial of growth: summaries of rows in, a Figure out."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from plasticity.plots.style import PALETTE, error_bars, line_with_band, panels, style, with_bounds

GREY = "#777777"
HALO = [withStroke(linewidth=2.5, foreground="white")]  # of names that lie on error bars
# Kinds of arms, with one colour and mark each.
FAMILIES = {
    "all weights": (PALETTE[3], "o"),
    "feed-forward blocks": (PALETTE[1], "s"),
    "adapter": (PALETTE[4], "^"),
    "growth, base frozen": (PALETTE[2], "D"),
    "growth, base trained": (PALETTE[0], "P"),
    "held to the base": (PALETTE[5], "v"),
}


def acquisition_and_retention(table: pd.DataFrame, titles: dict[str, str]) -> Figure:
    """Draw what each arm acquires against what it retains, one panel a base.

    Parameters
    ----------
    table : DataFrame
        Columns base, arm (short name), family, and acquisition, retention, each with _low, _high.
    titles : dict
        Title of each base's panel, in order.

    Returns
    -------
    Figure
        Crosses are 95 % intervals over seeds; the dotted line is all that the base knew.
    """
    with style():
        figure, axes = panels(len(titles), width=5.6, height=4.6, across=2)
        for axis, (base, title) in zip(axes, titles.items(), strict=True):
            own = table[table["base"] == base]
            for family, found in own.groupby("family", sort=False):
                _crosses(axis, found, family)
            axis.axhline(100, color="black", lw=0.8, ls=":")
            axis.set(title=title, xlabel="new skills acquired, % of test items right")
            low, high = axis.get_xlim()
            axis.set_xticks([tick for tick in axis.get_xticks() if tick <= 100])
            axis.set_xlim(low, high + 0.3 * (high - low))  # for the names
            _name(axis, own)
        for axis in axes[::2]:
            axis.set_ylabel("facts never replayed: retained, % of the base")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=7.5)
    return figure


def _crosses(axis, found: pd.DataFrame, family: str) -> None:
    colour, mark = FAMILIES[family]
    points = {
        name: with_bounds(
            found.rename(columns={name: "mean", f"{name}_low": "low", f"{name}_high": "high"})
        )
        for name in ("acquisition", "retention")
    }
    x, y = points["acquisition"], points["retention"]
    axis.errorbar(
        x["mean"], y["mean"], xerr=error_bars(x), yerr=error_bars(y),
        fmt=mark, color=colour, ms=6, lw=0.9, label=family,
    )  # fmt: skip


def _name(axis, found: pd.DataFrame) -> None:
    """Write each arm's name beside its point, moved up or down where names would meet."""
    low, high = axis.get_ylim()
    left, right = axis.get_xlim()
    height, letter = 0.035 * (high - low), 0.014 * (right - left)
    taken: list[tuple[float, float, float]] = []
    for own in found.sort_values("retention", ascending=False).itertuples():
        x, y = own.acquisition + letter, own.retention
        while any(abs(y - b) < height and x < end and a < x + letter * len(own.arm)
                  for a, end, b in taken):  # fmt: skip
            y -= height / 4
        taken.append((x, x + letter * len(own.arm), y))
        axis.annotate(
            own.arm, (own.acquisition, own.retention), xytext=(x, y), textcoords="data",
            fontsize=7, va="center", color=FAMILIES[own.family][0], path_effects=HALO,
            arrowprops={"arrowstyle": "-", "lw": 0.5, "color": GREY},
        )  # fmt: skip


def trials(table: pd.DataFrame, titles: dict[str, str]) -> Figure:
    """Draw each arm's line through acquisition and retention as its setting rises.

    Parameters
    ----------
    table : DataFrame
        One row for each trial, in order: base, arm, family, acquisition, retention, chosen.
    titles : dict
        Title of each base's panel, in order.

    Returns
    -------
    Figure
        Validation data; the ring is the trial that the rule chose.
    """
    with style():
        figure, axes = panels(len(titles), width=5.6, height=4.6, across=2)
        for axis, (base, title) in zip(axes, titles.items(), strict=True):
            own = table[table["base"] == base]
            for number, (arm, found) in enumerate(own.groupby("arm", sort=False)):
                colour, mark = FAMILIES[found["family"].iloc[0]]
                line = ("-", "--", ":", "-.")[number % 4]
                axis.plot(
                    found["acquisition"], found["retention"], mark + line,
                    color=colour, ms=3.5, lw=1, label=arm,
                )  # fmt: skip
                chosen = found[found["chosen"]]
                axis.plot(
                    chosen["acquisition"], chosen["retention"], "o", ms=10, mfc="none", mec=colour
                )
            axis.set(title=title, xlabel="answers exact to the token, %")
            axis.legend(fontsize=6.5, ncols=2)
        for axis in axes[::2]:
            axis.set_ylabel("facts never replayed, %")
    return figure


def course(summary: pd.DataFrame, labels: dict[str, tuple[str, str]]) -> Figure:
    """Draw how skills come and facts go while some arms learn.

    Parameters
    ----------
    summary : DataFrame
        Columns variant, split, metric, step, mean, low, high: the splits ``skills`` and ``facts``.
    labels : dict
        From a variant to its name and family; at most eight.

    Returns
    -------
    Figure
    """
    with style():
        figure, axes = panels(2, width=5, height=3.8)
        for number, (variant, (name, family)) in enumerate(labels.items()):
            colour, mark = FAMILIES[family]
            for axis, split in zip(axes, ("skills", "facts"), strict=True):
                own = summary[(summary["variant"] == variant) & (summary["split"] == split)]
                own = own.sort_values("step")
                line = ("-", "--", ":", "-.")[number % 4]
                line_with_band(axis, own, own["step"], colour, name, mark + line)
        axes[0].set(title="New skills", ylabel="answers exact to the token, %")
        axes[1].set(title="Facts that nobody replays", ylabel="right of four choices, %")
        for axis in axes:
            axis.set_xlabel("steps")
        axes[0].legend(fontsize=7)
    return figure


def decomposition(steps: pd.DataFrame) -> Figure:
    """Draw the way from full fine-tuning to the whole recipe, one ingredient after another.

    Parameters
    ----------
    steps : DataFrame
        Columns base, measure, name, mean, low, high, in order; of each base and measure the first
        is a level, the others are changes, and the last is the level that they lead to.

    Returns
    -------
    Figure
        Bars of levels in grey, of changes in colour, with 95 % intervals over seeds.
    """
    groups = list(steps.groupby(["base", "measure"], sort=False))
    with style():
        figure, axes = panels(len(groups), width=3.7, height=3.8, across=4)
        for axis, ((base, measure), own) in zip(axes, groups, strict=True):
            own = own.reset_index(drop=True)
            starts, bounds = _starts(own["mean"].tolist()), with_bounds(own)
            tops = np.maximum(starts, starts + bounds["high"])
            level = [0, len(own) - 1]
            colours = [GREY if n in level else PALETTE[n - 1] for n in own.index]
            axis.bar(own.index, own["mean"], bottom=starts, color=colours, width=0.65)
            axis.errorbar(
                own.index, own["mean"] + starts, yerr=error_bars(bounds),
                fmt="none", color="black", lw=1, capsize=3,
            )  # fmt: skip
            for number, mean in own["mean"].items():
                form = "{:.1f}" if number in level else "{:+.1f}"
                axis.annotate(
                    form.format(mean), (number, tops[number]), xytext=(0, 4), fontsize=8,
                    textcoords="offset points", ha="center",
                )  # fmt: skip
            axis.set_xticks(own.index, own["name"], fontsize=7.5, rotation=20)
            axis.set_title(f"{measure}\n{base} base", fontsize=10)
            axis.set_ylim(0, 1.1 * tops.max())
        for axis in axes[::4]:
            axis.set_ylabel("%")
    return figure


def _starts(means: list[float]) -> list[float]:
    """Return where each bar starts: levels at 0, changes where the one before has ended."""
    starts, top = [0.0], means[0]
    for change in means[1:-1]:
        starts.append(top)
        top += change
    return [*starts, 0.0]
