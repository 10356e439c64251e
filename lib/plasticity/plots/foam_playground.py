"""Figure of one answer of the growing playground: tables in, a Figure out."""

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from plasticity.plots.style import PALETTE, style

REPLIES = {"base": "#555555", "grown": PALETTE[3], "switched off": "#555555"}


def answer(
    pressure: pd.DataFrame,
    curve: pd.DataFrame,
    events: Sequence[int],
    excited: pd.DataFrame,
    written: pd.DataFrame,
    asked: str,
    replies: Mapping[str, str],
    same_bits: bool,
    newborn: str,
) -> Figure:
    """Draw where a model grew, what it learnt, one of its newborns, and what it says.

    Parameters
    ----------
    pressure : DataFrame
        Columns layer, neuron, pressure, source.
    curve : DataFrame
        Columns step, lesson, old: losses.
    events : sequence of int
        Steps of births.
    excited, written : DataFrame
        Columns token, value: of one newborn.
    asked : str
        What the model went on with.
    replies : mapping
        By ``base``, ``grown`` and ``switched off``.
    same_bits : bool
        Whether the switched-off model has the base's logits.
    newborn : str
        Which one is drawn.
    """
    with style():
        figure = plt.figure(figsize=(11.5, 7.4))
        grid = figure.add_gridspec(2, 4, height_ratios=(1, 1.15))
        _pressure(figure.add_subplot(grid[0, :2]), pressure)
        _curve(figure.add_subplot(grid[0, 2:]), curve, events)
        _bars(figure.add_subplot(grid[1, 0]), excited, f"Excites newborn {newborn}", "activation")
        _bars(figure.add_subplot(grid[1, 1]), written, "What it then writes", "added to the logit")
        _replies(figure.add_subplot(grid[1, 2:]), asked, replies, same_bits)
    return figure


def _pressure(axes, pressure: pd.DataFrame) -> None:
    layers = sorted(pressure["layer"].unique())
    for layer in layers:
        own = pressure[pressure["layer"] == layer]
        spread = np.linspace(-0.35, 0.35, len(own))
        axes.scatter(own["pressure"], layer + spread, s=7, color="#bbbbbb")
        chosen = own["source"].to_numpy()
        axes.scatter(
            own["pressure"][chosen],
            (layer + spread)[chosen],
            s=22,
            color=PALETTE[3],
            label=None if layer else "the first newborns' sources",
        )
    axes.set(
        title="Where and why it grew: pressure of every neuron",
        xlabel="gradient, relative to the neuron's weights",
        yticks=layers,
        ylim=(len(layers) - 0.5, -0.5),
    )
    axes.set_yticklabels([f"layer {layer}" for layer in layers])
    axes.legend(loc="lower right")


def _curve(axes, curve: pd.DataFrame, events: Sequence[int]) -> None:
    for name, label, colour in (
        ("lesson", "the lesson", PALETTE[3]),
        ("old", "old texts", PALETTE[0]),
    ):
        axes.plot(curve["step"], curve[name], "o-", color=colour, label=label)
    for number, step in enumerate(events):
        axes.axvline(step, color="black", ls="--", lw=1, label=None if number else "births")
    axes.set(
        title="Only newborns learn", xlabel="steps", ylabel="loss, nats a token", ylim=(0, None)
    )
    axes.legend()


def _bars(axes, table: pd.DataFrame, title: str, label: str) -> None:
    places = np.arange(len(table))
    colours = [PALETTE[2] if value > 0 else PALETTE[4] for value in table["value"]]
    axes.barh(places, table["value"], color=colours)
    axes.set_yticks(
        places, [f"“{token}”" for token in table["token"]], fontsize=9, parse_math=False
    )
    axes.axvline(0, color="black", lw=0.8)
    axes.invert_yaxis()
    axes.set(title=title, xlabel=label)


def _replies(axes, asked: str, replies: Mapping[str, str], same_bits: bool) -> None:
    axes.axis("off")
    axes.set_title("What it says")
    place = _write(axes, 0.97, "asked", asked, "black")
    for name, colour in REPLIES.items():
        place = _write(axes, place, name, replies[name], colour)
    verdict = "the base, bit for bit" if same_bits else "NOT the base's bits"
    axes.text(0, place, f"Growth switched off: {verdict}.", fontsize=10, va="top",
              color=PALETTE[2] if same_bits else PALETTE[3], fontweight="bold")  # fmt: skip


def _write(axes, place: float, name: str, text: str, colour) -> float:
    lines = textwrap.wrap(text.strip().replace("\n", " ⏎ ") or "(nothing)", 58)[:3]
    axes.text(0, place, name, fontsize=9, va="top", color="#888888")
    axes.text(0.2, place, "\n".join(lines), fontsize=10, va="top", color=colour, parse_math=False)
    return place - 0.09 - 0.075 * len(lines)
