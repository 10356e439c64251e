"""Figure of ARC before and after skills: a table of changes in, a Figure out."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from plasticity.plots.foam_trial import FAMILIES
from plasticity.plots.style import error_bars, panels, style

COLOURS = {family: colour for family, (colour, _) in FAMILIES.items()}
HIDDEN, FAINT = "#eeeeee", "#8a8a8a"


def changes(table: pd.DataFrame, skills: pd.DataFrame, titles: dict[str, str]) -> Figure:
    """Draw what each arm loses of ARC, and beside it what it has learnt.

    Parameters
    ----------
    table : DataFrame
        One row for each arm and test set, arms in order: arm, family, split, mean, low, high
        (points beside the base), source (the reference's change) and unseen (the half-width of
        what so many items as the reference had cannot tell from no change).
    skills : DataFrame
        One row for each arm: arm, family, mean (percent of answers right), base (the base's).
    titles : dict
        Title of each test set's panel.

    Returns
    -------
    Figure
        One line an arm; bars are 95 % intervals over items, paired with the base. The grey band is
        what the reference's number of items could not have seen; the diamond is its own change. The
        dotted line is what the base answers of the skills.
    """
    arms = skills["arm"].tolist()
    with style():
        figure, axes = panels(len(titles) + 1, width=4.1, height=0.46 * len(arms) + 1.3)
        for axis, (split, title) in zip(axes, titles.items(), strict=False):
            own = table[table["split"] == split].set_index("arm").loc[arms].reset_index()
            _changes(axis, own, title)
        heights = np.arange(len(arms))
        colours = [COLOURS[family] for family in skills["family"]]
        axes[-1].barh(heights, skills["mean"], color=colours, height=0.55)
        axes[-1].axvline(skills["base"].iloc[0], color="black", lw=1, ls=":")
        axes[-1].set(title="New skills", xlabel="answers right, %", xlim=(0, 100))
        for axis in axes:
            axis.set_yticks(heights, arms if axis is axes[0] else [""] * len(arms))
            axis.set_ylim(len(arms) - 0.4, -0.6)
            axis.grid(axis="y", visible=False)
    return figure


def _changes(axis, own: pd.DataFrame, title: str) -> None:
    unseen, source = own["unseen"].iloc[0], own["source"].iloc[0]
    axis.axvspan(-unseen, unseen, color=HIDDEN, lw=0, zorder=0)
    axis.axvline(0, color="black", lw=0.8)
    axis.plot([source], [-0.45], "D", color=FAINT, ms=6, clip_on=False, zorder=3)
    axis.annotate(
        "the source's", (source, -0.45), xytext=(6, 0), textcoords="offset points",
        va="center", fontsize=7.5, color=FAINT,
    )  # fmt: skip
    axis.annotate(
        f"±{unseen:.0f}: not to be told from 0 by as many items as the source's", (0, 0),
        xycoords=("data", "axes fraction"), xytext=(0, 3), textcoords="offset points",
        ha="center", fontsize=7, color=FAINT,
    )  # fmt: skip
    for height, (_, found) in enumerate(own.iterrows()):
        bounds = error_bars(found.to_frame().T.astype({"mean": float, "low": float, "high": float}))
        axis.errorbar(
            found["mean"], height, xerr=bounds, fmt="o", ms=6, lw=1.6, capsize=0,
            color=COLOURS[found["family"]],
        )  # fmt: skip
    axis.set(title=title, xlabel="points of percent beside the base")
