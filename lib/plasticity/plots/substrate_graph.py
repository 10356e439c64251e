"""A small graph of neurons, drawn cycle by cycle as activation spreads over it."""

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch

from plasticity.plots.style import style

INK, QUIET, PAPER = "#2b2b2b", "#c9c9c9", "#fbfaf7"
ACTIVATIONS = mpl.colormaps["RdBu_r"]
RADIUS = 0.38  # of a neuron, in units of the places
SEEN = 0.005  # smaller activations would be written as 0.00
MOST_ARROWS = 20  # where nothing is delivered; more synapses are plain lines there
Places = Mapping[str, tuple[float, float]]


def spread(
    neurons: pd.DataFrame,
    synapses: pd.DataFrame,
    places: Places,
    columns: int = 3,
    width: float = 3.6,
    weights: bool = False,
    above: float = 0.0,
) -> Figure:
    """Draw one panel for each cycle of a spread.

    Parameters
    ----------
    neurons : DataFrame
        Columns cycle (0 is the input), neuron, activation, hit and emits.
    synapses : DataFrame
        Columns cycle (from 1), source, target, sign, weight and delivered.
    places : mapping of str to (float, float)
        Where each neuron stands, one unit from the next or more.
    columns : int
        Panels in a row.
    width : float
        Of a panel, in inches.
    weights : bool
        Draw one more panel in front: all synapses with their weights.
    above : float
        Room to leave at the head of the figure, in inches.

    Returns
    -------
    Figure
        Red is activation above 0, blue below; a dark ring emits into the next cycle; arrows are
        what was delivered, as wide as it was much, dashed where it inhibits.
    """
    cycles = sorted(set(neurons["cycle"]))
    panels = [None, *cycles] if weights else cycles
    x, y = _size(places)
    height, gap = width * y / x, 0.32
    tall = -(-len(panels) // columns) * (height + gap) + above
    # Placed by hand, in inches: finding a layout takes longer than all the rest, and readers wait.
    figure = plt.figure(figsize=(columns * width, tall), layout="none", facecolor="white")
    ghosts = synapses[synapses["cycle"] == synapses["cycle"].min()]
    for number, cycle in enumerate(panels):
        row, column = divmod(number, columns)
        bottom = tall - above - (row + 1) * (height + gap) + 0.04
        box = column / columns, bottom / tall, 0.97 / columns, height / tall
        with style():
            axes = figure.add_axes(box)
        drawn = synapses[synapses["cycle"] == cycle] if cycle else synapses[:0]
        here = neurons[neurons["cycle"] == (cycle or 0)]
        if cycle is None:
            here = here.assign(activation=0.0, emits=False)
        _graph(axes, here, drawn, ghosts, places)
        title = "all synapses, with their weights" if cycle is None else f"cycle {cycle}"
        axes.set_title("input" if cycle == 0 else title, fontsize=10, pad=4, loc="left")
        if cycle is None:
            _weights(axes, ghosts, places)
    return figure


def _weights(axes: Axes, synapses: pd.DataFrame, places: Places) -> None:
    """Write the weight on every synapse, with its sign."""
    for edge in synapses.itertuples():
        start, end = np.array(places[edge.source]), np.array(places[edge.target])
        along = end - start
        middle = (start + end) / 2 + 0.05 * np.array([along[1], -along[0]])  # on the arc
        text = f"{edge.sign * edge.weight:.1f}".replace("-", "−")
        look = {"fontsize": 8, "ha": "center", "va": "center", "zorder": 5, "color": INK}
        axes.text(*middle, text, bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.8}, **look)


def _size(places: Places) -> tuple[float, float]:
    x, y = np.array(list(places.values())).T
    return float(np.ptp(x)) + 1.5, float(np.ptp(y)) + 1.5


def _graph(axes: Axes, neurons, delivered, ghosts, places: Places) -> None:
    """Draw one cycle; `ghosts` are all synapses there are."""
    x, y = np.array(list(places.values())).T
    axes.set(xlim=(x.min() - 0.75, x.max() + 0.75), ylim=(y.min() - 0.75, y.max() + 0.75))
    axes.set_aspect("equal")
    axes.set(xticks=[], yticks=[], facecolor=PAPER)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    active = delivered[delivered["delivered"] != 0]
    if len(ghosts) <= MOST_ARROWS:
        for edge in ghosts.itertuples():
            _arrow(axes, edge, places, QUIET, 0.7, edge.sign < 0, zorder=1)
    else:  # arrows take long
        lines = [(places[edge.source], places[edge.target]) for edge in ghosts.itertuples()]
        axes.add_collection(LineCollection(lines, colors=QUIET, linewidths=0.6, zorder=1))
    for edge in active.itertuples():
        colour = ACTIVATIONS(0.92 if edge.delivered > 0 else 0.08)
        width = 0.9 + 3.2 * min(1.0, abs(edge.delivered))
        _arrow(axes, edge, places, colour, width, edge.sign < 0, zorder=2)
    for neuron in neurons.itertuples():
        _neuron(axes, neuron, places[neuron.neuron])


def _arrow(axes: Axes, edge, places: Places, colour, width: float, dashed: bool, zorder) -> None:
    axes.add_artist(  # add_patch would measure it, which takes as long as to draw it
        FancyArrowPatch(
            places[edge.source],
            places[edge.target],
            connectionstyle="arc3,rad=0.1",
            arrowstyle=f"-|>,head_length={3 + width},head_width={1.2 + 0.7 * width}",
            shrinkA=_points(axes, RADIUS),
            shrinkB=_points(axes, RADIUS * 1.06),
            linewidth=width,
            linestyle=(0, (3, 1.5)) if dashed else "-",
            color=colour,
            zorder=zorder,
        )
    )


def _points(axes: Axes, length: float) -> float:
    """Return a length along the axes in points."""
    low, high = axes.get_xlim()
    inches = axes.get_position().width * axes.figure.get_figwidth()
    return length * 72 * inches / (high - low)


def _neuron(axes: Axes, neuron, place: tuple[float, float]) -> None:
    strength = float(np.clip(neuron.activation, -1, 1))
    ink = INK if abs(strength) < 0.55 else "white"
    ring = {"edgecolor": INK, "linewidth": 2.0} if neuron.emits else {"edgecolor": "#9a9a9a"}
    face = ACTIVATIONS(0.5 + 0.46 * strength)
    axes.add_artist(Circle(place, RADIUS, facecolor=face, zorder=3, **ring))
    unit = _points(axes, RADIUS)  # texts follow the size of the circle
    name = axes.text(
        *place, neuron.neuron, ha="center", va="center", color=ink, zorder=4, fontsize=unit * 0.42
    )
    longest = max(map(len, neuron.neuron.split("\n")))
    name.set_fontsize(min(unit * 0.5, unit * 3.1 / max(longest, 4)))
    if abs(neuron.activation) >= SEEN:
        name.set_verticalalignment("bottom")
        value = f"{neuron.activation:.2f}".replace("-", "−")
        axes.text(*place, value, ha="center", va="top", color=ink, zorder=4, fontsize=unit * 0.46)
