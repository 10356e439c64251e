"""Figures of the corpora: sizes, line lengths and truncation, word frequencies."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from plasticity.plots.style import PALETTE

SPLITS = ("train", "validation", "test")
MARKERS = {"train": "o", "validation": "s", "test": "D"}
STYLES = ("-", "--", "-.", ":")
QUIET = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.3,
}


def sizes(rows: pd.DataFrame) -> Figure:
    """Draw the number of words in each split of each corpus.

    Parameters
    ----------
    rows : pandas.DataFrame
        Rows of the experiment ``data_overview``, metric ``words``.

    Returns
    -------
    matplotlib.figure.Figure
        One line per corpus, the largest on top; words on a logarithmic axis.
    """
    words = _measured(rows, "words").pivot_table(index="variant", columns="split", values="value")
    words = words.loc[words.sum(axis=1).sort_values().index]
    with plt.rc_context(QUIET):
        figure, axes = plt.subplots(figsize=(7.5, 0.9 + 0.42 * len(words)), layout="constrained")
    axes.hlines(range(len(words)), words.min(axis=1), words.max(axis=1), color="0.8", zorder=1)
    for colour, split in zip(PALETTE, [s for s in SPLITS if s in words], strict=False):
        axes.scatter(
            words[split], range(len(words)), color=colour, marker=MARKERS[split], s=48, label=split
        )
    axes.set(xscale="log", xlabel="words", yticks=range(len(words)), ylim=(-0.6, len(words) - 0.4))
    axes.set_yticklabels(_labels(words.index))
    axes.legend(loc="lower right", frameon=False)
    return figure


def lengths(rows: pd.DataFrame, max_length: int = 128) -> Figure:
    """Draw how long lines are, and what cutting them costs.

    Parameters
    ----------
    rows : pandas.DataFrame
        Rows of the experiment ``data_overview``, metrics ``pieces_per_line``, ``truncated_share``
        and ``discarded_share``.
    max_length : int
        Tokens per sequence, ``[CLS]`` and ``[SEP]`` included; drawn as a line.

    Returns
    -------
    matplotlib.figure.Figure
        Left: the share of lines up to a length, in word pieces. Right: the share of lines that
        are cut, and of word pieces lost. Train split, or what the corpus has instead.
    """
    with plt.rc_context(QUIET):
        figure, (left, right) = plt.subplots(
            ncols=2, figsize=(10.5, 4.4), layout="constrained", width_ratios=(1.25, 1)
        )
    _curves(left, _main_split(_measured(rows, "pieces_per_line")), "value", "step")
    room = max_length - 2
    left.axvline(room, color="0.25", linewidth=1)
    left.text(room, 101.5, f"{room} kept of a line", ha="center", color="0.25", fontsize="small")
    left.set(xscale="log", xlabel="word pieces in a line", ylabel="lines up to this length (%)")
    left.set(xlim=(3, None), ylim=(0, 100))
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    shares = pd.concat(
        [_main_split(_measured(rows, m)) for m in ("truncated_share", "discarded_share")]
    )
    shares = shares.pivot_table(index="variant", columns="metric", values="value")
    shares = shares.sort_values("truncated_share")
    pairs = (("truncated_share", "lines cut", 0.2), ("discarded_share", "word pieces lost", -0.2))
    for colour, (metric, label, shift) in zip(PALETTE, pairs, strict=False):
        places = [place + shift for place in range(len(shares))]
        right.barh(places, shares[metric], height=0.38, color=colour, label=label)
    right.set(xlabel=f"share at {max_length} tokens (%)", xlim=(0, 100), yticks=range(len(shares)))
    right.set_yticklabels(_labels(shares.index))
    right.grid(False, axis="y")
    right.legend(frameon=False, loc="lower right")
    return figure


def word_frequencies(rows: pd.DataFrame) -> Figure:
    """Draw each word's share of the text against its rank.

    Parameters
    ----------
    rows : pandas.DataFrame
        Rows of the experiment ``data_overview``, metric ``word_share`` (the step is the rank).

    Returns
    -------
    matplotlib.figure.Figure
        Both axes logarithmic, with the slope of Zipf's law (share ~ 1/rank) for comparison.
    """
    shares = _main_split(_measured(rows, "word_share"))
    with plt.rc_context(QUIET):
        figure, axes = plt.subplots(figsize=(7.5, 4.6), layout="constrained")
    last = shares["step"].max()
    axes.plot([1, last], [10, 10 / last], color="0.6", linewidth=1, label="share ~ 1 / rank")
    _curves(axes, shares, "step", "value")
    axes.set(xscale="log", yscale="log", xlabel="rank of the word", ylabel="share of all words (%)")
    axes.legend(frameon=False, fontsize="small", loc="lower left")
    return figure


def digits(images: np.ndarray, labels: np.ndarray) -> Figure:
    """Draw digits in a row, each under its label.

    Parameters
    ----------
    images : numpy.ndarray of uint8, shape (count, 28, 28)
    labels : numpy.ndarray of int, shape (count,)

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure, axes = plt.subplots(
        ncols=len(images), figsize=(0.8 * len(images), 1.1), layout="constrained", squeeze=False
    )
    for place, image, label in zip(axes[0], images, labels, strict=True):
        place.imshow(image, cmap="gray_r", vmin=0, vmax=255)
        place.set_title(str(label))
        place.set_axis_off()
    return figure


def _measured(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return the rows of a metric, averaged over seeds."""
    keys = ["variant", "split", "step", "metric"]
    chosen = rows[rows["metric"] == metric]
    if chosen.empty:
        raise ValueError(f"rows hold no {metric!r}; allowed: rows of data_overview on text")
    return chosen.groupby(keys, sort=False, as_index=False)["value"].mean()


def _main_split(rows: pd.DataFrame) -> pd.DataFrame:
    """Keep one split per corpus: train, else validation, else test."""
    order = rows["split"].map(SPLITS.index)
    return rows[order == order.groupby(rows["variant"]).transform("min")]


def _curves(axes: Axes, rows: pd.DataFrame, x: str, y: str) -> None:
    for number, (variant, curve) in enumerate(rows.groupby("variant", sort=False)):
        style = STYLES[number % len(STYLES)]
        colour = PALETTE[number % len(PALETTE)]
        (label,) = _labels([variant])
        axes.plot(curve[x], curve[y], style, color=colour, linewidth=1.6, label=label)


def _labels(names) -> list[str]:
    return [name.replace("_", " ") for name in names]
