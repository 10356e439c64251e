"""Figures of skills learnt in sequence: a summary of ``foam_sequential`` in, a Figure out."""

import pandas as pd
from matplotlib.figure import Figure

from plasticity.plots.style import PALETTE, line_with_band, panels, style

SKILLS = {"tools": "Tool calls", "identity": "Identity", "autonomy": "Autonomous work"}
MARKS = ("o-", "s--", "^:", "D-.", "v-", "P--", "x:", "*-.", "h-")


def course(summary: pd.DataFrame, labels: dict[str, str]) -> Figure:
    """Draw what each arm can do after each skill, one panel a skill, and the facts beside them.

    Parameters
    ----------
    summary : DataFrame
        Columns variant, split, metric, step, mean, low, high, over seeds.
    labels : dict of str to str
        Names of the variants to draw.

    Returns
    -------
    Figure
        The shaded column is the stage at which the panel's skill is taught; bands are 95 %
        intervals over seeds.
    """
    with style():
        figure, axes = panels(4, width=3.5, height=3.7)
        for stage, (axis, skill) in enumerate(zip(axes, SKILLS, strict=False), 1):
            axis.axvspan(stage - 0.5, stage + 0.5, color="#f0e8d8", lw=0)
            _lines(axis, summary, "skill_accuracy", skill, labels)
            axis.set(title=SKILLS[skill], ylim=(-3, 103))
        _lines(axes[3], summary, "retention", "unreplayed", labels)
        axes[3].set(title="Facts never replayed")
        axes[0].set_ylabel("test items right, %")
        axes[3].set_ylabel("% of the base")
        for axis in axes:
            axis.set_xticks(range(4), ["base", "tools", "identity", "auto-\nnomy"], fontsize=8)
            axis.set_xlabel("after learning")
        axes[3].legend(fontsize=7)
    return figure


def _lines(axis, summary: pd.DataFrame, metric: str, split: str, labels: dict[str, str]) -> None:
    own = summary[(summary["metric"] == metric) & (summary["split"] == split)]
    for number, (variant, name) in enumerate(labels.items()):
        found = own[own["variant"] == variant].sort_values("step")
        colour = PALETTE[number % len(PALETTE)]
        line_with_band(axis, found, found["step"], colour, name, MARKS[number % len(MARKS)])
