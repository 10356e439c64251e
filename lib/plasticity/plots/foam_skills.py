"""Figures of the three skills: shares with intervals in, Figures out."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from plasticity.plots.style import PALETTE, error_bars, line_with_band, panels, style, with_bounds

ARMS = {
    "base": ("base", "#777777", "o"),
    "full_fine_tuning": ("full fine-tuning", PALETTE[0], "s"),
    "reference_recipe": ("the source's recipe", PALETTE[3], "D"),
}
SKILLS = {"tools": "tool calls", "identity": "identity", "autonomy": "work by a plan"}
MARKS = {"tools": "o-", "identity": "s--", "autonomy": "^:"}
RATES = np.linspace(30, 100, 2000)  # true rates, percent
SIZES = {5: PALETTE[3], 10: PALETTE[1], 500: PALETTE[0]}  # items of a test


def answers(found: pd.DataFrame, names: Mapping[str, str]) -> Figure:
    """Draw the right answers of every arm to every kind of question.

    Parameters
    ----------
    found : DataFrame
        Columns variant, split, mean, low, high (percent) and questions.
    names : mapping of str to str
        What to call each split, in the order from top to bottom.

    Returns
    -------
    Figure
    """
    splits = [split for split in names if split in set(found["split"])]
    with style():
        figure, (axes,) = panels(1, width=8.4, height=0.5 * len(splits) + 1.2)
        for shift, (variant, (label, colour, mark)) in zip(
            (-0.2, 0, 0.2), ARMS.items(), strict=True
        ):
            own = found[found["variant"] == variant].set_index("split").reindex(splits)
            y = np.arange(len(splits)) + shift
            bars = error_bars(own)
            axes.errorbar(own["mean"], y, xerr=bars, fmt=mark, color=colour, label=label, capsize=2)
        counts = found.drop_duplicates("split").set_index("split")["questions"]
        axes.set_yticks(
            range(len(splits)), [f"{names[split]}\n({counts[split]} items)" for split in splits]
        )
        axes.set(xlabel="right, %", xlim=(-2, 102), title="Before and after learning")
        axes.grid(axis="y", visible=False)
        axes.invert_yaxis()
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3)
    return figure


def resolution(source: pd.DataFrame, arc: pd.DataFrame) -> Figure:
    """Draw what the source's tests leave open.

    Parameters
    ----------
    source : DataFrame
        Columns skill, items, after, mean, low, high, before, before_low, before_high.
    arc : DataFrame
        Columns test, when (before, after, change), mean, low, high.

    Returns
    -------
    Figure
        Three panels: exact intervals of 10, 5 and 5 items; how often all items of a test come out
        right by true rate; the source's change on ARC.
    """
    with style():
        figure, (few, luck, change) = panels(3, width=4.2, height=3.5)
        for place, own in enumerate(source.itertuples()):
            few.plot([own.low, own.high], [place] * 2, color=PALETTE[3], lw=6, alpha=0.35)
            few.plot(
                [own.before_low, own.before_high], [place] * 2, color="#777777", lw=6, alpha=0.35
            )
            few.plot(own.mean, place, "D", color=PALETTE[3])
            few.plot(100 * own.before / own.items, place, "o", color="#777777")
        few.set_yticks(
            range(len(source)),
            [f"{SKILLS[own.skill]}\n{own.after:.0f} of {own.items}" for own in source.itertuples()],
        )
        few.set(title="What the source's counts leave open", xlabel="true rate, %", xlim=(-2, 102))
        few.set_ylim(len(source) - 0.5, -0.5)
        few.grid(axis="y", visible=False)
        for items, colour in SIZES.items():
            luck.plot(RATES, 100 * (RATES / 100) ** items, color=colour, label=f"{items} items")
        luck.set(title="All right by luck", xlabel="true rate, %", ylabel="tests with all right, %")
        luck.legend(loc="upper left")
        own = arc[arc["when"] == "change"]
        change.errorbar(
            range(len(own)), own["mean"], error_bars(own), fmt="D", color=PALETTE[3], capsize=4
        )
        change.axhline(0, color="black", lw=0.8)
        change.set_xticks(range(len(own)), own["test"])
        change.set_xlim(-0.6, len(own) - 0.4)
        change.set(title="The source's change on ARC", ylabel="percentage points")
    return figure


def way(summary: pd.DataFrame) -> Figure:
    """Draw how the skills are acquired, step by step.

    Parameters
    ----------
    summary : DataFrame
        Columns variant, split, step, metric, mean, low, high, over seeds.

    Returns
    -------
    Figure
        A panel for each arm that learns.
    """
    with style():
        figure, axes = panels(2, width=4.4, height=3.2)
        for place, variant in zip(axes, ("full_fine_tuning", "reference_recipe"), strict=True):
            label, *_ = ARMS[variant]
            for number, (skill, name) in enumerate(SKILLS.items()):
                wanted = (summary["variant"] == variant) & (summary["split"] == skill)
                own = summary[wanted & (summary["metric"] == "exact_answers")].sort_values("step")
                own = own.assign(**with_bounds(own))
                line_with_band(place, own, own["step"], PALETTE[number], name, MARKS[skill])
            place.set(title=label, xlabel="step", ylabel="exact answers, %", ylim=(-2, 103))
            place.legend(loc="center right")
    return figure
