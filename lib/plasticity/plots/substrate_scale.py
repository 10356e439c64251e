"""Figures of speed and scale: medians of ``substrate_scale`` and ``substrate_pairs``."""

from collections.abc import Mapping

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

from plasticity.plots.style import PALETTE, panels, style

INK, GREY = "#2b2b2b", "#8a8a8a"
LOOKS = {
    "whole/scipy": ("scipy's CSR product", GREY, "s--"),
    "whole/graph/1": ("graph, 1 thread", PALETTE[0], "o-"),
    "whole/graph/2": ("graph, 2 threads", PALETTE[0], "o:"),
    "whole/view/1": ("derived view, 1 thread", PALETTE[3], "o-"),
    "whole/view/2": ("derived view, 2 threads", PALETTE[3], "o:"),
}
SPARSE = {
    "sparse/scipy_rows": ("scipy, rows picked", GREY, "s--"),
    "sparse/scipy_product": ("scipy, sparse product", GREY, "^:"),
    "sparse/graph/1": ("graph", PALETTE[0], "o-"),
}


def spread(found: pd.Series, neurons: Mapping[str, int]) -> Figure:
    """Draw the speed of whole and of sparse activations by the size of the graph.

    Parameters
    ----------
    found : Series
        Medians by variant, split and metric.
    neurons : mapping of str to int
        Neurons of each variant to draw.

    Returns
    -------
    Figure
        Left: synapses a second of a whole activation. Right: time of a sparse one.
    """
    with style():
        figure, (whole, sparse) = panels(2, width=5.2, height=3.7)
        _lines(whole, found, neurons, LOOKS, "synapses_per_second", 1e-6)
        whole.set(title="Whole activation", ylabel="million synapses a second", ylim=(0, None))
        _lines(sparse, found, neurons, SPARSE, "frontier_seconds", 1e6)
        sparse.set(title="Sparse activation", ylabel="microseconds", yscale="log")
    return figure


def _lines(axes: Axes, found: pd.Series, neurons, looks, metric: str, scale: float) -> None:
    for split, (name, colour, line) in looks.items():
        points = sorted(
            (count, scale * found[variant, split, metric])
            for variant, count in neurons.items()
            if (variant, split, metric) in found.index
        )
        if points:
            axes.plot(*zip(*points, strict=True), line, color=colour, label=name)
    axes.set(xscale="log", xlabel="neurons of the graph")
    axes.legend(fontsize=8)


def pairs(found: pd.Series, names: Mapping[str, str], goals: Mapping[str, float]) -> Figure:
    """Draw the pairs a second of every way of learning, beside their goals.

    Parameters
    ----------
    found : Series
        Medians by variant, split and metric.
    names : mapping of str to str
        Names to show for the variants to draw, in their order.
    goals : mapping of str to float
        Pairs a second, by variant.

    Returns
    -------
    Figure
        Dots by the clock, rings by each core, a line at the goal.
    """
    with style():
        figure, (axes,) = panels(1, width=9.4, height=1.2 + 0.42 * len(names))
        for line, variant in enumerate(names):
            wall, core = (found[variant, s, "pairs_per_second"] for s in ("wall", "processor"))
            colour = GREY if variant.startswith("word2vec") else PALETTE[0]
            clock, dot, label = ("by the clock", "by each core", "goal") if line == 0 else ("",) * 3
            axes.plot([wall, core], [line, line], color=colour, lw=1)
            axes.plot(core, line, "o", color=colour, fillstyle="none", markersize=8, label=dot)
            axes.plot(wall, line, "o", color=colour, markersize=8, label=clock)
            if variant in goals:
                ends = line - 0.4, line + 0.4
                axes.plot([goals[variant]] * 2, ends, color=PALETTE[3], lw=2.5, label=label)
        axes.set_yticks(range(len(names)), names.values(), fontsize=9)
        axes.set(xscale="log", xlabel="pairs a second, three negatives drawn for each")
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.legend(fontsize=8, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    return figure


def blocks(machines: int = 4) -> Figure:
    """Draw how machines share a graph: each owns a block of post-synaptic neurons.

    Parameters
    ----------
    machines : int
        2 to 6.

    Returns
    -------
    Figure
        What all emitted, one column of synapses for each machine, and the activations it makes.
    """
    colours = ("#cfe0f2", "#f7dcc4", "#d9ecd0", "#ead6ea", "#fbe9c6", "#dcdcdc")
    with style():
        figure, axes = plt.subplots(figsize=(10.2, 4.4))
        for machine in range(machines):
            left, colour = 2.6 + 1.9 * machine, colours[machine]
            axes.add_patch(Rectangle((left, 1.2), 1.6, 3, facecolor=colour, edgecolor=INK))
            axes.text(left + 0.8, 2.7, "synapses\ninto its block", ha="center", va="center")
            axes.text(left + 0.8, 4.35, f"machine {machine + 1}", ha="center", fontweight="bold")
            axes.add_patch(Rectangle((left, 0.2), 1.6, 0.5, facecolor=colour, edgecolor=INK))
            axes.text(left + 0.8, 0.45, "its neurons", ha="center", va="center", fontsize=9)
            _arrow(axes, (left + 0.8, 1.2), (left + 0.8, 0.72))
            height = 1.2 + 3 / machines * (machines - 1 - machine)
            box = Rectangle((0.5, height), 0.5, 3 / machines, facecolor=colour, edgecolor=INK)
            axes.add_patch(box)
        axes.text(0.75, 4.35, "what all\nemitted", ha="center", va="bottom", fontweight="bold")
        _arrow(axes, (1.1, 2.7), (2.5, 2.7))
        axes.text(1.8, 2.85, "to every\nmachine", ha="center", va="bottom", fontsize=9)
        end = 2.6 + 1.9 * machines
        down, up = end - 1.1, 0.75
        axes.plot([down, down, up, up], [0.2, -0.25, -0.25, 1.0], color=GREY)
        _arrow(axes, (up, 0.9), (up, 1.16), color=GREY)
        middle = end / 2
        axes.text(
            middle,
            -0.38,
            "what passes its threshold is emitted into the next cycle",
            ha="center",
            va="top",
            fontsize=9,
            color=GREY,
        )
        axes.set(xlim=(0.2, end), ylim=(-0.8, 5.1))
        axes.axis("off")
    return figure


def _arrow(axes: Axes, start, end, **look) -> None:
    look = {"color": INK, "mutation_scale": 14, "arrowstyle": "-|>", **look}
    axes.add_patch(FancyArrowPatch(start, end, shrinkA=0, shrinkB=0, **look))
