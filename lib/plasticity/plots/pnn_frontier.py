"""The figure of accuracy against what it costs, every tuned arm at equal tokens."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from plasticity.plots.pnn import COLOURS, label
from plasticity.plots.style import error_bars, panels, style, with_bounds

COSTS = (
    ("flops_per_token", "total", "FLOPs a token, training", True),
    ("parameters", "untied", "parameters, the paper's count", True),
    ("parameters", "encoder", "without embeddings and head", True),
    ("tokens_per_second", "train", "tokens a second, training", False),
)


def frontier(summary: pd.DataFrame, recurrent: tuple[str, ...], equal: list[str]) -> Figure:
    """Draw test accuracy against operations, two counts of parameters, and speed.

    Parameters
    ----------
    summary : DataFrame
        Columns variant, split, step, metric, mean, low, high, over seeds.
    recurrent : tuple of str
        Arms that apply one module again and again: filled; the others are open.
    equal : list of str
        Arms at equal tokens, which are drawn.

    Returns
    -------
    Figure
        Four panels; bars are 95 % intervals over seeds, a line joins the arms that no other beats
        for the same cost or less.
    """
    at_zero = summary[summary["step"] == 0].set_index(["metric", "split", "variant"]).sort_index()
    accuracy = with_bounds(at_zero.loc[("accuracy", "test")])
    with style():
        figure, places = panels(4, width=3.4, height=3.6)
        for axes, (metric, split, name, less_is_better) in zip(places, COSTS, strict=True):
            costs = at_zero.loc[(metric, split)]["mean"][equal]
            for arm in equal:
                own = accuracy.loc[[arm]]
                face = COLOURS[arm] if arm in recurrent else "white"
                axes.errorbar(
                    costs[[arm]], own["mean"], error_bars(own), fmt="o", color=COLOURS[arm],
                    mfc=face, ms=8, label=label(arm),
                )  # fmt: skip
            front = pd.DataFrame({"cost": costs, "accuracy": accuracy["mean"][equal]})
            front = front.sort_values("cost", ascending=less_is_better)
            front = front[front["accuracy"] == front["accuracy"].cummax()]
            axes.step(
                front["cost"], front["accuracy"], where="post", color="#999999", lw=1, zorder=0
            )
            axes.set(xlabel=name, ylabel="test accuracy, %")
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        handles, names = places[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=4, fontsize=8)
    return figure
