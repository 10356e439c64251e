"""Figures of the small world's bases: summaries of ``foam_base`` in, Figures out."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from plasticity.plots.style import PALETTE, error_bars, line_with_band, panels, style, with_bounds

BASES = {
    "unsaturated": ("unsaturated", PALETTE[0]),
    "saturated": ("saturated", PALETTE[3]),
    "larger": ("larger", PALETTE[2]),
}
KINDS = {
    "facts": ("facts", 25, "o-"),
    "stories": ("end of a story", 25, "s--"),
    "grammar": ("agreement of the verb", 50, "^:"),
}
PROBES = {
    "replayed": "facts,\nfirst half",
    "unreplayed": "facts,\nsecond half",
    "stories": "end of\na story",
    "grammar": "agreement\nof the verb",
}
CHANCE = {"replayed": 25, "unreplayed": 25, "stories": 25, "grammar": 50}
MILLION = 1e6


def curves(summary: pd.DataFrame) -> Figure:
    """Draw what the bases learn while they read.

    Parameters
    ----------
    summary : DataFrame
        Columns variant, split, step, metric, mean, low, high, over seeds; step is tokens.

    Returns
    -------
    Figure
        A panel of accuracy for each base, and one of the loss.
    """
    told = {name: own for name, own in BASES.items() if name in set(summary["variant"])}
    with style():
        figure, axes = panels(len(told) + 1, width=4, height=3.6)
        for place, (variant, (label, colour)) in zip(axes, told.items(), strict=False):
            for kind, (name, chance, mark) in KINDS.items():
                own = _select(summary, variant, kind, "curve_accuracy")
                line_with_band(place, own, own["step"] / MILLION, colour, name, mark)
                place.axhline(chance, color="#999999", lw=0.8, ls=mark[1:])
            place.set(
                title=f"{label}: what it knows", xlabel="million tokens read", ylabel="right, %"
            )
            place.set_ylim(0, 103)
            place.legend(fontsize=8, loc="center right")
            loss = _select(summary, variant, "held_out", "curve_loss")
            line_with_band(axes[-1], loss, loss["step"] / MILLION, colour, label, "o-")
        axes[-1].set(
            title="Loss on held-out text", xlabel="million tokens read", ylabel="nats a token"
        )
        axes[-1].legend()
    return figure


def _select(summary: pd.DataFrame, variant: str, split: str, metric: str) -> pd.DataFrame:
    wanted = (summary["variant"] == variant) & (summary["split"] == split)
    found = summary[wanted & (summary["metric"] == metric)].sort_values("step")
    return found.assign(**with_bounds(found))


def knowledge(scores: pd.DataFrame, capacity: pd.DataFrame) -> Figure:
    """Draw how much each base knows, and how many facts that are.

    Parameters
    ----------
    scores : DataFrame
        Columns variant, split, mean, low, high: accuracy in percent, interval over items.
    capacity : DataFrame
        Columns variant, facts and known; one row a base.

    Returns
    -------
    Figure
        Two panels: accuracies with their intervals beside chance; facts told and facts known.
    """
    with style():
        figure, (right, facts) = panels(2, width=4.8, height=3.6)
        told = {name: own for name, own in BASES.items() if name in set(scores["variant"])}
        for number, (variant, (label, colour)) in enumerate(told.items()):
            own = scores[scores["variant"] == variant].set_index("split").reindex(PROBES)
            x = np.arange(len(PROBES)) + 0.2 * (number - (len(told) - 1) / 2)
            right.errorbar(
                x, own["mean"], error_bars(own), fmt="o", color=colour, label=label, capsize=3
            )
        for place, kind in enumerate(PROBES):
            right.hlines(CHANCE[kind], place - 0.35, place + 0.35, color="#777777", ls="--", lw=1)
        right.set_xticks(range(len(PROBES)), PROBES.values(), fontsize=8.5)
        right.set(title="Right answers (dashes: chance)", ylabel="%", ylim=(0, 103))
        right.legend(loc="center left")
        for place, own in enumerate(capacity.itertuples()):
            label, colour = BASES.get(own.variant, (own.variant, "#777777"))
            facts.barh(place, own.facts, color="white", edgecolor=colour, lw=1.5)
            facts.barh(place, own.known, color=colour)
            facts.text(own.facts, place, f"  {own.known:,.0f} of {own.facts:,.0f}", va="center")
        facts.set_yticks(range(len(capacity)), [own.variant for own in capacity.itertuples()])
        facts.set(title="Facts known beyond guessing", xlabel="facts in the world")
        facts.set_xlim(0, 1.35 * capacity["facts"].max())
        facts.grid(axis="y", visible=False)
        facts.invert_yaxis()
    return figure
