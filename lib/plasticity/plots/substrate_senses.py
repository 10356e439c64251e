"""Figures of the chapters on sound and film: rows or the arrays of one example in, a Figure out."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from plasticity.plots.style import PALETTE, panels, style

READERS = {
    "accuracy": "graph",
    "regression_accuracy": "logistic regression, same input",
    "peak_accuracy": "highest spectral peak",
    "harmonic_accuracy": "harmonic sum",
    "phase_correlation_accuracy": "correlation of frames",
}
# The last two never meet: one reads sound, the other film.
LOOKS = dict(zip(READERS, ((0, "o"), (7, "s"), (1, "D"), (2, "^"), (1, "D")), strict=True))
WINNER = PALETTE[3]
TARGET = 99  # percent, the goal of both chapters


def curves(
    summary: pd.DataFrame,
    variant: str,
    axes_of: Mapping[str, tuple[str, bool, tuple[float, ...]]],
    classes: int,
) -> Figure:
    """Draw accuracy against one condition after another, with 95% intervals over seeds.

    Parameters
    ----------
    summary : DataFrame
        Columns variant, split, step, metric, mean, low, high.
    variant : str
        Whose curves.
    axes_of : mapping of str to (label, logarithmic, learnt)
        By split: the label of the axis, its scale, and the values or the range met in training.
    classes : int
        Their number, for the line of chance.

    Returns
    -------
    Figure
        One panel a split.
    """
    own = summary[summary["variant"] == variant]
    with style():
        figure, row = panels(len(axes_of), width=9.6 / len(axes_of), height=3.3)
        for axes, (split, (label, logarithmic, learnt)) in zip(row, axes_of.items(), strict=True):
            for metric in READERS:
                found = own[(own["split"] == split) & (own["metric"] == metric)]
                if len(found):
                    _line(axes, found.sort_values("step"), metric)
            for value in learnt if len(learnt) > 2 or logarithmic else ():
                axes.axvline(value, color="#bbbbbb", linewidth=0.8, linestyle="--", zorder=0)
            if not logarithmic and len(learnt) == 2:
                axes.axvspan(*learnt, color="#efefef", zorder=0)
            axes.axhline(100 / classes, color="black", linestyle=":", linewidth=1)
            axes.axhline(TARGET, color="black", linestyle="-", linewidth=0.6)
            if logarithmic:
                axes.set_xscale("log")
                steps = sorted(set(own.loc[own["split"] == split, "step"]))
                axes.set_xticks(steps, [f"{step:g}" for step in steps], rotation=60, fontsize=8)
                axes.minorticks_off()
            axes.set(ylim=(0, 104), xlabel=label)
        row[0].set_ylabel("right (%)")
        handles, labels = row[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=len(labels), fontsize=8)
    return figure


def _line(axes, found: pd.DataFrame, metric: str) -> None:
    steps, mean, low, high = (found[name].to_numpy() for name in ("step", "mean", "low", "high"))
    front = 3 if metric == "accuracy" else 2
    number, mark = LOOKS[metric]
    look = {"color": PALETTE[number], "marker": mark, "markersize": 3.5, "linewidth": 1.4}
    axes.plot(steps, mean, label=READERS[metric], zorder=front, **look)
    low, high = np.clip(low, 0, 100), np.clip(high, 0, 100)
    axes.fill_between(steps, low, high, color=PALETTE[number], alpha=0.15, lw=0)


def confusion(
    summary: pd.DataFrame, variants: Mapping[str, str], names: Mapping[str, Sequence[str]]
) -> Figure:
    """Draw what each class was taken for.

    Parameters
    ----------
    summary : DataFrame
        As for `curves`, with ``answer_share`` in the splits ``confusion, true I``.
    variants : mapping of str to str
        Titles of the panels.
    names : mapping of str to sequence of str
        Names of the classes of each variant.

    Returns
    -------
    Figure
        A heat map for each variant, the mean over seeds.
    """
    with style():
        figure, row = panels(len(variants), width=4.7, height=4.2)
        for axes, (variant, title) in zip(row, variants.items(), strict=True):
            classes = names[variant]
            own = summary[(summary["variant"] == variant) & (summary["metric"] == "answer_share")]
            shares = own.set_index(["split", "step"])["mean"]
            ticks = range(len(classes))
            table = [[shares[f"confusion, true {i}", j] for j in ticks] for i in ticks]
            image = axes.imshow(table, cmap="Blues", vmin=0, vmax=100)
            axes.grid(visible=False)
            size = 8 if len(classes) <= 12 else 5.5
            axes.set_xticks(ticks, classes, fontsize=size, rotation=90)
            axes.set_yticks(ticks, classes, fontsize=size)
            axes.set(xlabel="named", ylabel="shown", title=title)
        figure.colorbar(image, ax=row, label="share (%)", shrink=0.8)
    return figure


def intervals(summary: pd.DataFrame, instruments: Sequence[str]) -> Figure:
    """Draw by how many semitones the notes of each instrument were misheard.

    Parameters
    ----------
    summary : DataFrame
        As for `curves`, with ``answer_share`` in the splits ``interval, NAME``.
    instruments : sequence of str

    Returns
    -------
    Figure
        One panel an instrument; what was heard right is left out and told in its title.
    """
    own = summary[(summary["variant"] == "instruments") & (summary["metric"] == "answer_share")]
    own = own.set_index(["split", "step"])["mean"]
    with style():
        figure, row = panels(len(instruments), width=9.6 / len(instruments), height=2.6)
        top = max(own[f"interval, {name}"].drop(0).max() for name in instruments)
        for axes, name in zip(row, instruments, strict=True):
            shares = own[f"interval, {name}"]
            wrong = shares.drop(0)
            colours = [WINNER if step == 7 else PALETTE[0] for step in wrong.index]
            axes.bar(wrong.index, wrong, color=colours)
            axes.set_title(f"{name}\n{shares[0]:.0f} % right", fontsize=9)
            axes.set(xlabel="semitones too high", ylim=(0, max(1.0, 1.1 * top)))
            axes.set_xticks([1, 3, 5, 7, 9, 11])
        row[0].set_ylabel("notes (%)")
    return figure


def sound_pathway(example: Mapping, classes: Sequence[str]) -> Figure:
    """Draw a sound on its way: spectrogram, grid, winners, scores.

    Parameters
    ----------
    example : mapping
        ``signal`` of shape (samples,), ``rate``, ``edges`` of shape (bands + 1,), ``grid`` of shape
        (frames, bands), ``winners``: indexes of the cells that emitted, ``scores`` of shape
        (classes,), and ``label``.
    classes : sequence of str

    Returns
    -------
    Figure
        Three panels, from left to right.
    """
    with style():
        figure, (left, middle, right) = panels(3, width=3.2, height=3.6)
        _draw_spectrogram(left, example)
        grid, edges = example["grid"], example["edges"]
        level = grid.mean(axis=0) if len(grid) > 1 else grid[0]
        won = np.isin(np.arange(len(level)), np.asarray(example["winners"]) % len(level))
        centres = np.sqrt(edges[:-1] * edges[1:])
        colours = [WINNER if wins else "#c8c8c8" for wins in won]
        middle.barh(centres, level, height=0.8 * np.diff(edges), color=colours)
        middle.set(xlabel="level above the neighbourhood", title="grid and winning cells")
        for axes in (left, middle):
            axes.set_yscale("log")
            axes.set_ylim(edges[0], edges[-1])
            ticks = [tick for tick in (125, 250, 500, 1000, 2000) if edges[0] < tick < edges[-1]]
            axes.set_yticks(ticks, [str(tick) for tick in ticks])
            axes.minorticks_off()
        left.set_ylabel("frequency (Hz)")
        _draw_scores(right, example, classes)
    return figure


def _draw_spectrogram(axes, example: Mapping) -> None:
    signal, rate = example["signal"], example["rate"]
    length = max(64, min(len(signal) // 4, rate // 12))
    axes.specgram(
        signal, NFFT=length, Fs=rate, noverlap=length * 3 // 4, cmap="magma", pad_to=4 * length
    )
    axes.grid(visible=False)
    axes.set(xlabel="time (s)", title="sound, as a spectrogram")


def _draw_scores(axes, example: Mapping, classes: Sequence[str]) -> None:
    scores, label = example["scores"], example["label"]
    places = np.arange(len(classes))
    best = int(np.argmax(scores))
    colours = [WINNER if place == best else "#c8c8c8" for place in places]
    axes.barh(places, scores, color=colours)
    size = 9 if len(classes) <= 12 else 6.5
    axes.set_yticks(places, classes, fontsize=size)
    axes.get_yticklabels()[label].set_fontweight("bold")
    axes.axvline(0, color="black", linewidth=0.8)
    axes.grid(visible=False)
    axes.invert_yaxis()
    axes.set(xlabel="score", title="classes (bold: the truth)")


def film_pathway(example: Mapping, speeds: Sequence[float], classes: Sequence[str]) -> Figure:
    """Draw a film on its way: some frames, energy by velocity, winners, scores.

    Parameters
    ----------
    example : mapping
        ``clip`` of shape (frames, height, width), ``grid`` of shape (speeds, directions),
        ``winners``: indexes of the cells that emitted, ``scores`` of shape (classes,), ``label``.
    speeds : sequence of float
        Of the grid's rows.
    classes : sequence of str

    Returns
    -------
    Figure
        Frames above, energy and scores below.
    """
    clip, grid = example["clip"], example["grid"]
    shown = np.linspace(0, len(clip) - 1, 5).round().astype(int)
    with style():
        figure = plt.figure(figsize=(9.4, 6))
        above, below = figure.subfigures(2, 1, height_ratios=(1, 2))
        low, high = np.percentile(clip, (1, 99.5))
        for axes, frame in zip(above.subplots(1, len(shown)), shown, strict=True):
            axes.imshow(clip[frame], cmap="gray", vmin=low, vmax=high)
            axes.set_axis_off()
            axes.set_title(f"frame {frame + 1} of {len(clip)}", fontsize=9)
        left, right = below.subfigures(1, 2)
        _draw_wheel(left.add_subplot(projection="polar"), grid, speeds, example["winners"])
        _draw_scores(right.subplots(), example, classes)
    return figure


def _draw_wheel(axes, grid: np.ndarray, speeds: Sequence[float], winners) -> None:
    """Draw the grid as a wheel: direction around, speed outwards."""
    rows, directions = grid.shape
    turn = 2 * np.pi / directions
    angles = np.arange(directions) * turn
    colours = plt.get_cmap("viridis")(grid)
    empty = (grid.max(axis=0).argmax() + directions / 2 + 0.5) * turn  # opposite the strongest
    for row, (speed, line) in enumerate(zip(speeds, colours, strict=True)):
        axes.bar(
            angles, 1, turn, bottom=row + 0.5, color=line, edgecolor="#ffffff22", linewidth=0.5
        )
        axes.text(empty, row + 1, f"{speed:g}", color="white", fontsize=7, va="center", ha="center")
    row, direction = np.divmod(np.asarray(winners), directions)
    axes.plot(direction * turn, row + 1, "o", color=WINNER, markersize=6, markeredgecolor="white")
    axes.grid(visible=False)
    axes.set_xticks(np.arange(4) * np.pi / 2, ["right", "up", "left", "down"])
    axes.set_yticks([])
    axes.spines["polar"].set_visible(False)
    axes.set_ylim(0, rows + 0.5)
    axes.set_title("energy by velocity, and winning cells")
