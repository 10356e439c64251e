"""Figures of the playground: one answer of a PNN, and many, step by step."""

import re
import textwrap

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from plasticity.plots.style import PALETTE, panels, style

MASK = "[MASK]"
MOST_WORDS = 9  # rows of the panel of guesses
MOST_LEVEL = 14  # tokens whose labels stand side by side; more are turned
INK = "#333333"
WIDTH = 10.6  # inches


def answer(rows: pd.DataFrame, trained_steps: int, change: str = "") -> Figure:
    """Draw what a PNN made of one hidden word.

    Parameters
    ----------
    rows : DataFrame
        As `plasticity.pnn.questions.answer` returns them.
    trained_steps : int
        Steps that the model was trained for; a dashed line stands after them.
    change : str
        What was changed in the model, for the title; empty where nothing was.

    Returns
    -------
    Figure
        Likely words by step; size of state and update in the hidden place; and, where at least one
        step was taken, the gate of every dimension there and the size of every token's update.
    """
    steps = int(rows["step"].max())
    with style():
        figure, (guesses, sizes, *strips) = _frame(steps)
        title = ", ".join(filter(None, (f"“{_sentence(rows)}”", change)))
        title = "\n".join(textwrap.wrap(title, 100))
        figure.suptitle(title, x=0.01, y=1 - 0.1 / figure.get_figheight(), ha="left", fontsize=12)
        _guesses(guesses, rows)
        _sizes(sizes, rows)
        if strips:
            _gates(*strips[:2], rows)
            _updates(*strips[2:], rows)
        if steps > trained_steps:
            for axes, place in ((guesses, trained_steps + 0.5), (sizes, trained_steps)):
                axes.axvline(place, color=INK, linestyle="--", linewidth=1)
            sizes.set_xlabel(f"refinement step (dashed: trained for {trained_steps})")
        for stop in rows.loc[rows["metric"] == "enough", "step"]:
            guesses.axvline(stop + 0.5, color=PALETTE[2], linestyle=":", linewidth=2.5)
            sizes.axvline(stop, color=PALETTE[2], linestyle=":", linewidth=2.5, label="enough")
            sizes.legend(fontsize=9, loc="upper left")
    return figure


def _frame(steps: int) -> tuple[Figure, list[Axes]]:
    """Return a figure and its axes: two on top, then two strips, each with its colour bar.

    Placed by hand, in inches: finding a layout takes longer than all the rest, and readers wait.
    """
    strip = 0.25 + 0.21 * steps
    height = 4.3 + (2 * strip + 1.75 if steps else 0)
    figure = plt.figure(figsize=(WIDTH, height), layout="none")

    def spot(left: float, top: float, width: float, tall: float) -> Axes:
        return figure.add_axes(
            (left / WIDTH, 1 - (top + tall) / height, width / WIDTH, tall / height)
        )

    axes = [spot(1.5, 0.75, 4.9, 2.9), spot(7.2, 0.75, 3.0, 2.9)]
    if steps:
        for top in (4.6, 4.6 + strip + 0.6):
            axes += [spot(1.5, top, 8.45, strip), spot(10.05, top, 0.12, strip)]
    return figure, axes


def _sentence(rows: pd.DataFrame) -> str:
    """Return the sentence as the model reads it, written the usual way."""
    tokens = rows.query("metric == 'state_rms' and step == 0").sort_values("index")["label"]
    joined = " ".join(tokens).replace(" ##", "")
    return re.sub(r" ?(['’]) ?", r"\1", re.sub(r" ([.,!?;:])", r"\1", joined))


def _table(rows: pd.DataFrame, metric: str, index: str) -> pd.DataFrame:
    return rows[rows["metric"] == metric].pivot(index=index, columns="step", values="value")


def _cells(axes: Axes, table: pd.DataFrame, rows: list, columns: list, **look):
    """Draw a table as coloured cells; `columns` may be empty, since each label takes its time."""
    image = axes.imshow(table, aspect="auto", interpolation="nearest", **look)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(axis="y", labelsize=9)
    axes.spines[["left", "bottom"]].set_visible(False)
    return image


def _stress(labels: list, text: str) -> None:
    for label in labels:
        if label.get_text() == text:
            label.set(color=PALETTE[3], fontweight="bold")


def _guesses(axes: Axes, rows: pd.DataFrame) -> None:
    table = _table(rows, "probability", "label")
    true = _table(rows, "true_word_probability", "label")
    last = table.columns[-1]
    order = table.max(axis=1).nlargest(MOST_WORDS).index
    table = table.loc[order].drop(true.index, errors="ignore")
    table = pd.concat([table, true]).sort_values(last, ascending=False)
    _cells(axes, table, list(table.index), list(table.columns), cmap="Blues", vmin=0, vmax=1)
    for row, chances in enumerate(table.to_numpy()):
        for column, chance in enumerate(chances):
            if chance >= 0.005:
                look = {"color": "white" if chance > 0.55 else INK, "fontsize": 9}
                axes.text(column, row, f"{100 * chance:.0f}", ha="center", va="center", **look)
    [found] = true.index
    _stress(axes.get_yticklabels(), found)
    axes.set(title=f"Likely words, in percent (hidden: {found})")
    axes.set_xlabel("refinement step (0 = embeddings)")


def _sizes(axes: Axes, rows: pd.DataFrame) -> None:
    hidden = rows[rows["label"] == MASK]
    names = {"state_rms": "state", "delta_rms": "update (gate × proposal)"}
    for (metric, name), colour in zip(names.items(), (PALETTE[0], PALETTE[1]), strict=True):
        part = hidden[hidden["metric"] == metric].sort_values("step")
        if len(part):
            axes.plot(part["step"], part["value"], "o-", color=colour, label=name)
    axes.set_xticks(range(int(rows["step"].max()) + 1))
    axes.set_ylim(0, 1.3 * hidden[hidden["metric"].isin(list(names))]["value"].max())
    axes.set(xlabel="refinement step", ylabel="root mean square", title=f"Size, at {MASK}")
    axes.legend(fontsize=9, loc="upper left")  # above the lines


def _gates(axes: Axes, bar: Axes, rows: pd.DataFrame) -> None:
    table = _table(rows, "gate", "index").sort_values(1, ascending=False).T
    means = table.mean(axis=1)
    names = [f"step {step} (mean {mean:.2f})" for step, mean in means.items()]
    image = _cells(axes, table, names, [], cmap="PuOr_r", vmin=0, vmax=1)
    axes.set_title(f"Gate of each of {table.shape[1]} dimensions at {MASK}, in the order of step 1")
    axes.figure.colorbar(image, cax=bar, ticks=(0, 0.5, 1))


def _updates(axes: Axes, bar: Axes, rows: pd.DataFrame) -> None:
    table = _table(rows, "delta_rms", "index").T
    tokens = rows.query("metric == 'delta_rms' and step == 1").sort_values("index")["label"]
    names = [f"step {step}" for step in table.index]
    image = _cells(axes, table, names, list(tokens), cmap="Greens", vmin=0)
    if len(tokens) > MOST_LEVEL:
        axes.tick_params(axis="x", rotation=60, labelsize=8)
    _stress(axes.get_xticklabels(), MASK)
    axes.set_title("Update of each token, root mean square")
    axes.figure.colorbar(image, cax=bar)


def gallery(found: pd.DataFrame, trained_steps: int) -> Figure:
    """Draw how many hidden words are guessed after each step, and how likely they are.

    Parameters
    ----------
    found : DataFrame
        As `plasticity.pnn.questions.gallery` returns it.
    trained_steps : int
        Steps that the model was trained for; a dashed line stands there.

    Returns
    -------
    Figure
        Left: share of hidden words that are the likeliest. Right: probability of each hidden word
        (thin) and the mean over them (thick).
    """
    steps = sorted(set(found["step"]))
    by_step = found.groupby("step")
    with style():
        figure, (right, chance) = panels(2, width=4.6)
        right.plot(steps, 100 * by_step["right"].mean(), "o-", color=PALETTE[0])
        right.set(ylabel="guessed (%)", title="Hidden words guessed", ylim=(0, 100))
        for _, part in found.groupby((found["step"] == 0).cumsum()):
            chance.plot(part["step"], part["true_word_probability"], color=INK, alpha=0.25, lw=0.8)
        mean = by_step["true_word_probability"].mean()
        chance.plot(steps, mean, "o-", color=PALETTE[1], linewidth=2.5)
        chance.set(ylabel="probability", title="Probability of each, and mean", ylim=(0, 1))
        for axes in (right, chance):
            axes.axvline(trained_steps, color=INK, linestyle="--", linewidth=1)
            axes.set(xlabel="refinement step (0 = embeddings)", xticks=steps)
        right.text(trained_steps + 0.1, 97, "steps of the training", va="top", fontsize=8)
    return figure
