"""Figures of the chapter on digits: rows or the arrays of some digits in, a Figure out."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from plasticity.plots.style import PALETTE, panels, style

LABELS = {
    "filters": "filters and contexts",
    "filters_small": "filters and contexts, small",
    "reference_recipe": "the source's recipe",
    "svm": "linear SVM",
    "neighbours": "3 nearest neighbours",
    "perceptron": "perceptron, 256 hidden",
}
CURVES = {
    "by_images": "filters and contexts",
    "source_by_images": "the source's recipe",
    "svm_by_images": "linear SVM",
    "neighbours_by_images": "3 nearest neighbours",
    "perceptron_by_images": "perceptron, 256 hidden",
}
COLOURS = {
    "filters and contexts": PALETTE[0],
    "filters and contexts, small": PALETTE[9],
    "the source's recipe": PALETTE[3],
    "linear SVM": PALETTE[7],
    "3 nearest neighbours": PALETTE[2],
    "perceptron, 256 hidden": PALETTE[1],
}
MARKS = dict(zip(COLOURS, "oosD^v", strict=True))


def trade_offs(
    summary: pd.DataFrame, source: Mapping[str, float], goals: Sequence[tuple[float, float]]
) -> Figure:
    """Draw the error of every learner against the size of its model, and against its time.

    Parameters
    ----------
    summary : DataFrame
        Columns variant, split, step, metric, mean, low, high.
    source : mapping of str to float
        What the source says: accuracy, kilobytes and seconds.
    goals : sequence of (float, float)
        Kilobytes and accuracy that this project set out to reach.

    Returns
    -------
    Figure
        Left: kilobytes, and a line through models of fewer filters on digits held out. Right:
        seconds to learn, and a line through fewer epochs.
    """
    at = summary.set_index(["variant", "split", "metric", "step"]).sort_index()
    with style():
        figure, (size, time) = panels(2, width=4.8, height=3.9)
        for axes, split, metric, curve in (
            (size, "packed", "kilobytes", "by_filters"),
            (time, "train", "seconds", "by_epochs"),
        ):
            for variant, label in LABELS.items():
                if (variant, "test", "accuracy", 0) in at.index:
                    found = at.loc[(variant, "test", "accuracy", 0)]
                    place = at.loc[(variant, split, metric, 0), "mean"]
                    _point(axes, place, found, label)
            _curve_of(axes, summary, curve, metric)
            error = 100 - source["accuracy"]
            axes.plot(source[metric], error, "*", color=PALETTE[3], ms=11, label="the source says")
            axes.set(xscale="log", yscale="log")
            _percent_axis(axes)
        for kilobytes, accuracy in goals:
            label = "goal" if kilobytes == goals[0][0] else None
            size.plot(kilobytes, 100 - accuracy, "k+", ms=10, label=label)
        size.set(xlabel="kilobytes of the model", ylabel="error on the test (%)")
        time.set(xlabel="seconds to learn")
        handles, labels = size.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper left", ncols=4, fontsize=8)
    return figure


def _point(axes: Axes, place: float, found: pd.Series, label: str) -> None:
    low, high = (100 - found[side] for side in ("high", "low"))
    colour = COLOURS[label]
    axes.plot(place, 100 - found["mean"], MARKS[label], color=colour, ms=7, label=label, zorder=3)
    if np.isfinite(low):
        axes.plot([place, place], [low, high], color=colour, lw=1.5, zorder=2)


def _curve_of(axes: Axes, summary: pd.DataFrame, variant: str, metric: str) -> None:
    own = summary[summary["variant"] == variant]
    if own.empty:
        return
    table = own.pivot(index="step", columns="metric", values="mean").sort_index()
    label = "fewer filters or epochs, digits held out"
    axes.plot(table[metric], 100 - table["accuracy"], ".:", color=PALETTE[0], label=label)
    for step, line in table.iterrows():
        place = line[metric], 100 - line["accuracy"]
        axes.annotate(f"{step:.0f}", place, (3, 4), textcoords="offset points", fontsize=7)


def _percent_axis(axes: Axes) -> None:
    low, high = axes.get_ylim()
    ticks = [t for t in (0.3, 0.5, 1, 2, 3, 5, 10, 20, 30, 50, 100) if low <= t <= high]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()


def by_images(summary: pd.DataFrame) -> Figure:
    """Draw the error on digits held out against the number of digits learnt from.

    Parameters
    ----------
    summary : DataFrame
        Columns variant, split, step, metric, mean, low, high.

    Returns
    -------
    Figure
        A line for each learner, with 95% intervals over the seeds.
    """
    own = summary[(summary["split"] == "by images") & (summary["metric"] == "accuracy")]
    with style():
        figure, (axes,) = panels(1, width=7.2, height=3.9)
        for variant, label in CURVES.items():
            found = own[own["variant"] == variant].sort_values("step")
            if len(found):
                look = {"color": COLOURS[label], "marker": MARKS[label], "ms": 4.5}
                axes.plot(found["step"], 100 - found["mean"], label=label, **look)
                bounds = 100 - found["high"], 100 - found["low"]
                axes.fill_between(found["step"], *bounds, color=COLOURS[label], alpha=0.2, lw=0)
        axes.set(xscale="log", yscale="log", xlabel="digits learnt from", ylabel="error (%)")
        _percent_axis(axes)
        axes.legend(fontsize=8)
    return figure


def differences(found: pd.DataFrame) -> Figure:
    """Draw what is lost where a part is taken away.

    Parameters
    ----------
    found : DataFrame
        Index: what is changed. Columns mean, low, high: accuracy minus that of the whole, points.

    Returns
    -------
    Figure
        A dot with its 95% interval for each, and a line at no difference.
    """
    with style():
        figure, (axes,) = panels(1, width=8.4, height=0.9 + 0.36 * len(found))
        for line, (_, row) in enumerate(found.iterrows()):
            if np.isfinite(row["low"]):
                axes.plot([row["low"], row["high"]], [line, line], color=PALETTE[0], lw=1.5)
            axes.plot(row["mean"], line, "o", color=PALETTE[0])
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_yticks(range(len(found)), found.index, fontsize=9)
        axes.invert_yaxis()
        axes.set_xlabel("accuracy on digits held out, minus that of the whole (points)")
    return figure


def pictures(rows: Sequence[np.ndarray], names: Sequence[str]) -> Figure:
    """Draw rows of pictures, as they are on their way to the filters.

    Parameters
    ----------
    rows : sequence of ndarray, shape (pictures, rows, columns)
        As many pictures in each.
    names : sequence of str
        Of the rows.

    Returns
    -------
    Figure
    """
    with style():
        size = (0.9 * len(rows[0]) + 1, 0.95 * len(rows))
        figure, grid = plt.subplots(len(rows), len(rows[0]), figsize=size, squeeze=False)
        for line, row, name in zip(grid, rows, names, strict=True):
            for axes, picture in zip(line, row, strict=True):
                _picture(axes, picture)
            line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    return figure


def _picture(axes: Axes, picture: np.ndarray, colours: str = "Greys", bound=None) -> None:
    low, high = (picture.min(), max(picture.max(), 1)) if bound is None else (-bound, bound)
    axes.imshow(picture, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.grid(visible=False)
    for side in axes.spines.values():
        side.set_visible(True)
        side.set_linewidth(0.4)


def filters(banks: Sequence[np.ndarray], names: Sequence[str]) -> Figure:
    """Draw the filters of every bank, in the order in which they were learnt.

    Parameters
    ----------
    banks : sequence of ndarray, shape (filters, size, size)
    names : sequence of str

    Returns
    -------
    Figure
        Orange excites, blue inhibits.
    """
    most = max(map(len, banks))
    with style():
        size = (0.95 * most + 1, 1.05 * len(banks))
        figure, grid = plt.subplots(len(banks), most, figsize=size, squeeze=False)
        for line, bank, name in zip(grid, banks, names, strict=True):
            for axes in line[len(bank) :]:
                axes.axis("off")
            for axes, one in zip(line, bank, strict=False):
                _picture(axes, one, "PuOr_r", np.abs(one).max())
            line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    return figure


def confusion(summary: pd.DataFrame, variant: str) -> Figure:
    """Draw how often each digit was taken for another, in percent of its own.

    Parameters
    ----------
    summary : DataFrame
        Columns variant, split, step, metric, mean.
    variant : str
        The learner.

    Returns
    -------
    Figure
        Heat map; right answers are left out, so that the mistakes can be told apart.
    """
    own = summary[(summary["variant"] == variant) & (summary["metric"] == "answer_share")]
    table = own.pivot(index="split", columns="step", values="mean").to_numpy()
    shown = np.where(np.eye(len(table), dtype=bool), np.nan, table)
    with style():
        figure, (axes,) = panels(1, width=5.4, height=4.4)
        image = axes.imshow(shown, cmap="Oranges", vmin=0)
        for true, answer in zip(*np.nonzero(np.nan_to_num(shown) >= 0.05), strict=True):
            text = f"{shown[true, answer]:.1f}"
            axes.text(answer, true, text, ha="center", va="center", fontsize=7)
        ticks = range(len(table))
        axes.set(xticks=ticks, yticks=ticks, xlabel="taken for", ylabel="digit")
        axes.grid(visible=False)
        figure.colorbar(image, label="% of the digit")
    return figure


def mistakes(images: np.ndarray, labels: Sequence[int], answers: Sequence[int]) -> Figure:
    """Draw digits that were got wrong, each with what it is and what it was taken for.

    Parameters
    ----------
    images : ndarray, shape (digits, rows, columns)
    labels, answers : sequence of int

    Returns
    -------
    Figure
    """
    columns = 12
    rows = max(1, -(-len(images) // columns))
    with style():
        figure, grid = plt.subplots(rows, columns, figsize=(9.6, 1.05 * rows), squeeze=False)
        for axes in grid.flat:
            axes.axis("off")
        for axes, image, label, answer in zip(grid.flat, images, labels, answers, strict=False):
            axes.axis("on")
            _picture(axes, image)
            axes.set_title(f"{label}, not {answer}", fontsize=8, loc="center", pad=2)
    return figure


def reasons(digits: Sequence[dict]) -> Figure:
    """Draw where some digits speak for their answer and where for the runner-up.

    Parameters
    ----------
    digits : sequence of dict
        ``grid``, the digit as the filters see it; ``evidence``, of the same shape; ``label``,
        ``answer`` and ``rival``.

    Returns
    -------
    Figure
        Orange for the answer, blue for the runner-up; the digit as a line around it.
    """
    with style():
        figure, row = panels(len(digits), width=9.6 / len(digits), height=9.6 / len(digits) + 0.4)
        for axes, digit in zip(row, digits, strict=True):
            evidence, grid = digit["evidence"], digit["grid"]
            _picture(axes, evidence, "PuOr_r", np.abs(evidence).max() or 1)
            axes.contour(grid, levels=[grid.max() / 2 + 0.5], colors="black", linewidths=0.9)
            right = "right" if digit["answer"] == digit["label"] else f"is {digit['label']}"
            title = f"{digit['answer']} ({right}), or {digit['rival']}"
            axes.set_title(title, fontsize=9)
    return figure
