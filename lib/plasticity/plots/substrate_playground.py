"""Figures of the substrate's playground: one answer of a taught brain, cycle by cycle."""

from collections.abc import Mapping

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from plasticity.plots import substrate_anatomy, substrate_graph
from plasticity.plots.style import PALETTE, style

PLACES = {  # where the neurons of the taught brain stand: found with few crossings, then kept
    "afraid": (0.7, 0.7),
    "bark": (-0.4, 0.1),
    "bird": (1.6, -2.9),
    "cat": (2.1, -0.7),
    "cheese": (3.6, 2.4),
    "cloud": (-3.9, -0.4),
    "coat": (-2.8, 2.9),
    "cold": (-2.1, 2.0),
    "dog": (0.2, -1.2),
    "fire": (-0.1, 2.8),
    "fish": (0.8, -2.1),
    "flower": (-2.5, -1.8),
    "garden": (-0.6, -2.9),
    "happy": (1.1, -0.4),
    "house": (2.2, 1.9),
    "mouse": (3.4, 0.9),
    "pond": (-1.2, -2.1),
    "puddle": (-0.9, -0.9),
    "purr": (1.9, 0.7),
    "rain": (-2.2, -0.4),
    "sing": (2.5, -2.0),
    "sleep": (0.7, 1.8),
    "sun": (-2.8, 0.6),
    "warm": (-1.1, 1.7),
}
SHOWN = 8  # neurons whose activations stand as bars, at most
HEAD = 3.7  # inches
WIDTH = 4.1  # of a panel, in inches


def answer(
    neurons: pd.DataFrame,
    synapses: pd.DataFrame,
    paths: pd.DataFrame,
    activation: float,
    asked: str,
    learnt: pd.DataFrame,
) -> Figure:
    """Draw one answer of the taught brain.

    Parameters
    ----------
    neurons, synapses : DataFrame
        As for `substrate_graph.spread`.
    paths : DataFrame
        Columns path, origin and contribution; may be empty.
    activation : float
        Of the asked neuron.
    asked : str
        Its name.
    learnt : DataFrame
        Columns neuron, before and after.

    Returns
    -------
    Figure
        At the head, where a reader who plays looks first, the paths behind the asked neuron's
        activation, and the strongest activations at the end, before and after learning from the
        answer; then a panel for each cycle.
    """
    figure = substrate_graph.spread(neurons, synapses, PLACES, columns=3, width=WIDTH, above=HEAD)
    height, total = figure.get_figheight(), 3 * WIDTH
    with style():
        bottom, tall = 1 - (HEAD - 0.65) / height, (HEAD - 1.0) / height
        left = figure.add_axes((4.0 / total, bottom, 4.2 / total, tall))
        right = figure.add_axes((9.4 / total, bottom, 2.8 / total, tall))
        if len(paths):
            short = paths.assign(path=paths["path"].map(_shortened))
            substrate_anatomy.waterfall(left, short, activation, asked)
            hit = neurons.loc[neurons["hit"] & (neurons["neuron"] == asked), "cycle"].max()
            left.set_title(f"Why {asked}, in cycle {hit}? The paths add up")
        else:
            left.text(0.5, 0.5, f"nothing reached {asked}", ha="center", fontsize=11)
            left.set_title(f"Why {asked}?")
            left.axis("off")
        _learnt(right, learnt)
    return figure


def _shortened(path: str) -> str:
    """Return a path without the names of its relations: they would not fit."""
    words = path.replace("—", " ").split()
    return " → ".join(
        word for place, word in enumerate(words) if place == 0 or words[place - 1].endswith("→")
    )


def _learnt(axes: Axes, learnt: pd.DataFrame) -> None:
    seen = learnt[learnt[["before", "after"]].abs().max(axis=1) >= substrate_graph.SEEN]
    top = seen.loc[seen["before"].abs().nlargest(SHOWN).index]
    lines = range(len(top))
    axes.barh(lines, top["after"], height=0.75, color=PALETTE[1], label="after learning from it")
    axes.barh(lines, top["before"], height=0.4, color="#333333", label="now")
    axes.set_yticks(lines, top["neuron"], fontsize=9)
    axes.set_ylim(SHOWN - 0.4, -0.6)
    axes.axvline(0, color="#333333", linewidth=0.8)
    axes.set_title("Strongest in the last cycle")
    axes.legend(fontsize=8, loc="upper right", bbox_to_anchor=(1.04, -0.07), ncols=2)
    axes.grid(visible=False, axis="y")
    axes.locator_params(axis="x", nbins=4)
    axes.tick_params(axis="y", length=0)


def changes(found: Mapping[str, pd.Series]) -> Figure:
    """Draw how goal, working memory and modulator change an answer.

    Parameters
    ----------
    found : mapping of str to Series
        Activations at the end, by neuron, under a name for each question; the plain one first.

    Returns
    -------
    Figure
        One panel for each but the plain one, which is grey in all.
    """
    (_, plain), *others = found.items()
    strongest = pd.DataFrame(found).abs().max(axis=1).nlargest(SHOWN + 2).index
    lines = range(len(strongest))
    with style():
        shared = {"sharex": True, "sharey": True, "squeeze": False, "figsize": (10.6, 3.4)}
        figure, [axes] = plt.subplots(1, len(others), **shared)
        for one, (title, values) in zip(axes, others, strict=True):
            one.barh(lines, plain[strongest], height=0.8, color="#d0d0d0", label="plain question")
            one.barh(lines, values[strongest], height=0.42, color=PALETTE[3])
            one.set_yticks(lines, strongest, fontsize=9)
            one.set_title(title, fontsize=10)
            one.axvline(0, color="#333333", linewidth=0.8)
            one.grid(visible=False, axis="y")
            one.tick_params(axis="y", length=0)
        axes[0].invert_yaxis()
        axes[0].legend(fontsize=8, loc="lower right")
    return figure
