"""Figures of the anatomy: records byte by byte, growth, and each primitive of spread."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Rectangle

from plasticity.plots.style import PALETTE, panels, style

INK, GREY = "#2b2b2b", "#8a8a8a"
FEWEST_LINES = 5  # of bars, so that few are not thick
ROW = 16  # bytes drawn side by side
# What the fields are for; the colours of the records.
ROLES = {
    "place in the graph": ("#dfe8f3", "identity first_synapse fan_out pending name target"),
    "activity": ("#f6d9d3", "activation trace last_tick fires weight"),
    "settings": ("#e3efd9", "threshold leak bias gain relation"),
    "state of the rule": ("#fbe9c6", "first second steps"),
    "kind": ("#eadff0", "group kind flags"),
}
# The six bytes that a rule may use, two by two.
RULE_STATE = {
    "adam": ("first moment,\nbfloat16", "second moment,\nbfloat16", "updates"),
    "reward": ("eligibility,\nQ1.14", "its tick", "visits"),
    "count": ("low half\nof the count", "high half\nof the count", "–"),
}
WEATHER = {  # where the neurons of the drawn brain stand
    "cloud": (0, 3.6),
    "sun": (2.4, 3.6),
    "rain": (0, 2.4),
    "sprinkler": (-1.3, 1.2),
    "umbrella": (-1.3, 2.7),
    "dry": (2.4, 1.2),
    "wet": (0.7, 1.2),
    "slippery": (0.7, 0),
    "care": (-0.7, -0.9),
    "fall": (2.1, -0.9),
}


def records(neuron: np.dtype, synapse: np.dtype) -> Figure:
    """Draw the two records byte by byte.

    Parameters
    ----------
    neuron, synapse : numpy.dtype
        Structured, without gaps.

    Returns
    -------
    Figure
        Sixteen bytes a line; below the synapse, what its rule's bytes mean under three rules.
    """
    with style():
        figure, axes = plt.subplots(figsize=(10.6, 6.6))
        bottom = _record(axes, neuron, f"neuron: {neuron.itemsize} bytes", 0)
        bottom = _record(axes, synapse, f"synapse: {synapse.itemsize} bytes", bottom + 1.5)
        start = synapse.fields["first"][1]
        for line, (rule, meanings) in enumerate(RULE_STATE.items()):
            top = bottom + 0.25 + 0.72 * line
            axes.text(start - 0.2, top + 0.3, f"under {rule}:", ha="right", va="center", fontsize=9)
            for place, meaning in enumerate(meanings):
                _box(axes, start + 2 * place, top, 2, 0.6, "#fdf5e3", meaning, "", 7.5)
        end = bottom + 0.25 + 0.72 * len(RULE_STATE)
        axes.set(xlim=(-0.1, ROW + 0.1), ylim=(end + 0.1, -1.1))
        axes.axis("off")
        handles = [Rectangle((0, 0), 1, 1, facecolor=c, edgecolor=GREY) for c, _ in ROLES.values()]
        axes.legend(handles, list(ROLES), ncols=5, loc="upper right", bbox_to_anchor=(1, 1.04))
    return figure


def _record(axes: Axes, record: np.dtype, title: str, top: float) -> float:
    """Draw one record from `top` down, and return where it ends."""
    axes.text(0, top - 0.45, title, fontsize=12, fontweight="bold", va="bottom")
    lines = -(-record.itemsize // ROW)
    for line in range(lines):
        for byte in range(ROW):
            at = byte + 0.06, top + line * 1.15 - 0.04
            axes.text(*at, str(line * ROW + byte), fontsize=6.5, color=GREY, va="bottom")
    for name, (kind, offset) in record.fields.items():
        line, left = divmod(offset, ROW)
        colour = next(colour for colour, names in ROLES.values() if name in names.split())
        width = kind.itemsize
        below = f"{kind.name}, byte {offset}" if width > 2 else kind.name
        _box(axes, left, top + line * 1.15, width, 0.8, colour, name, below, 10 if width > 1 else 8)
    return top + lines * 1.15 - 0.35


def _box(axes, left, top, width, height, colour, text, below, size) -> None:
    axes.add_patch(Rectangle((left, top), width, height, facecolor=colour, edgecolor=INK, lw=0.9))
    middle = left + width / 2
    look = {"ha": "center", "va": "center", "color": INK}
    axes.text(middle, top + height * (0.38 if below else 0.5), text, fontsize=size, **look)
    if below:
        small = {**look, "color": "#5a5a5a"}
        axes.text(middle, top + height * 0.76, below, fontsize=max(6, size - 2.5), **small)


def growth(stages: Sequence[tuple[str, pd.DataFrame]]) -> Figure:
    """Draw the synapses of a growing brain as they lie in memory.

    Parameters
    ----------
    stages : sequence of (str, DataFrame)
        What happened, and columns source, target, weight, pending and next, in the order of
        memory.

    Returns
    -------
    Figure
        One strip a stage; a colour is a source, a dashed frame is pending, an arrow the chain from
        a source's newest pending synapse to the one before.
    """
    names = sorted(set(stages[0][1]["source"]))
    colours = dict(zip(names, ("#cfe0f2", "#f7dcc4", "#d9ecd0", "#ead6ea"), strict=False))
    with style():
        figure, axes = plt.subplots(figsize=(10.6, 5.0))
        for line, (title, cells) in enumerate(stages):
            top = 2.05 * line
            axes.text(0, top - 0.16, title, fontsize=10, va="bottom")
            lefts, rows = [], int((~cells["pending"]).sum())
            for place, cell in enumerate(cells.itertuples()):
                left = 1.32 * place + (0.6 if cell.pending else 0)
                lefts.append(left)
                look = {"linestyle": "--" if cell.pending else "-", "edgecolor": INK, "lw": 1.1}
                face = colours[cell.source]
                axes.add_patch(Rectangle((left, top), 1.25, 0.85, facecolor=face, **look))
                text = f"{cell.source} → {cell.target}"
                axes.text(left + 0.62, top + 0.32, text, ha="center", va="center", fontsize=11)
                weight = f"{cell.weight:.1f}"
                axes.text(left + 0.62, top + 0.66, weight, ha="center", va="center", fontsize=8.5)
                if cell.next >= 0:
                    ends = (left + 0.62, top + 0.87), (lefts[rows + cell.next] + 0.62, top + 0.87)
                    arc = {"connectionstyle": "arc3,rad=-0.18", "arrowstyle": "-|>"}
                    axes.add_patch(FancyArrowPatch(*ends, mutation_scale=10, color=INK, **arc))
            for word, there in (("rows", ~cells["pending"]), ("pending", cells["pending"])):
                if there.any():
                    start = lefts[int(np.argmax(there))]
                    axes.text(start, top + 1.02, word, fontsize=8, color=GREY, va="top")
        axes.set(xlim=(-0.1, 10.6), ylim=(2.05 * len(stages) - 0.6, -0.75))
        axes.axis("off")
    return figure


def primitives(rows: pd.DataFrame) -> Figure:
    """Draw leak, threshold, goal, working memory and competition, each by what it does.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``substrate_anatomy``; what is random is drawn of the first seed.

    Returns
    -------
    Figure
        Two by three panels, the last the sums of explained paths.
    """
    first = rows[rows["seed"] == rows["seed"].min()]
    with style():
        figure, axes = plt.subplots(2, 3, figsize=(10.6, 6.2))
        drawn = (_leak, _threshold, _goal, _memory, _winners, _path_errors)
        for draw, one in zip(drawn, axes.flat, strict=True):
            draw(one, rows if draw is _path_errors else first)
    return figure


def curve(rows: pd.DataFrame, split: str, metric: str) -> pd.Series:
    """Return the values of one metric and split of one seed by step, in order."""
    chosen = (rows["split"] == split) & (rows["metric"] == metric)
    return rows[chosen].set_index("step")["value"].sort_index()


def _splits(rows: pd.DataFrame, start: str, metric: str) -> list[str]:
    chosen = rows["split"].str.startswith(start) & (rows["metric"] == metric)
    return list(dict.fromkeys(rows.loc[chosen, "split"]))


def _shades(count: int):
    return plt.get_cmap("viridis")(np.linspace(0.05, 0.85, count))


def _leak(axes: Axes, rows: pd.DataFrame) -> None:
    splits = _splits(rows, "leak", "activation")
    for split, colour in zip(splits, _shades(len(splits)), strict=True):
        found = curve(rows, split, "activation")
        axes.plot(found.index, found, ".-", color=colour, label=split.removeprefix("leak "))
    axes.set(title="Leak: what is left of a pulse", xlabel="ticks after it", ylabel="activation")
    axes.set_xlim(0, 20)
    axes.legend(title="kept per tick", fontsize=8, title_fontsize=8, bbox_to_anchor=(1, 0.95))


def _threshold(axes: Axes, rows: pd.DataFrame) -> None:
    splits = _splits(rows, "threshold", "emitted_value")
    for split, colour in zip(splits, _shades(len(splits)), strict=True):
        found = curve(rows, split, "emitted_value")
        axes.plot(found.index / 10, found, ".-", color=colour, label=split)
    axes.set(title="Threshold: only what is above", xlabel="input", ylabel="emitted")
    axes.legend(fontsize=8, loc="upper left")


def _goal(axes: Axes, rows: pd.DataFrame) -> None:
    for split, colour in zip(
        ("0.6 of the input", "0.4 of the input"), (PALETTE[0], PALETTE[3]), strict=True
    ):
        found, emits = (curve(rows, split, name) for name in ("activation", "emits"))
        axes.plot(found.index / 100, found, color=colour, lw=1, label=split)
        won = found[emits == 1]
        axes.plot(won.index / 100, won, "o", color=colour, markersize=4)
    axes.set(title="Goal: it decides between rivals", ylabel="activation")
    axes.set_xlabel("goal on the weaker (dots: emits)")
    axes.legend(fontsize=8, loc="lower right")


def _memory(axes: Axes, rows: pd.DataFrame) -> None:
    splits = [split for split in _splits(rows, "strength", "gain") if "law" not in split]
    for split, colour in zip(splits, (PALETTE[3], PALETTE[0]), strict=True):
        found, law = (curve(rows, name, "gain") for name in (split, f"{split}, law"))
        axes.plot(law.index, law, color=colour, lw=1)
        axes.plot(found.index, found, "o", color=colour, label=split)
    axes.axhline(1, color=GREY, linestyle=":", linewidth=1)
    axes.set(title="Working memory: a gain that fades", xlabel="position, newest first")
    axes.set_ylabel("gain over a neuron not held")
    axes.legend(fontsize=8, title="line: exp(strength × decay^position)", title_fontsize=8)


def _winners(axes: Axes, rows: pd.DataFrame) -> None:
    found, emits = (curve(rows, "group", name) for name in ("activation", "emits"))
    colours = [PALETTE[3] if emit else "#d0d0d0" for emit in emits]
    axes.bar(found.index, found, color=colours, width=0.75)
    axes.set(title="Competition: the best of a group emit", xlabel="neuron of the group")
    axes.set(ylabel="activation, kept by all", xticks=found.index)
    axes.grid(visible=False)


def _path_errors(axes: Axes, rows: pd.DataFrame) -> None:
    errors = rows[rows["metric"] == "path_error"]["value"]
    errors = errors.clip(lower=1e-10)
    axes.hist(errors, bins=np.geomspace(1e-10, 1e-4, 37), color=PALETTE[0])
    unit = np.finfo(np.float32).eps
    axes.axvline(unit, color=PALETTE[3], linestyle="--", linewidth=1.3, label="float32 unit")
    axes.set(xscale="log", title="explain(): do the paths add up?", ylabel="random brains")
    axes.set_xlabel("largest error, relative to the paths")
    axes.legend(fontsize=8)


def explanation(table: pd.DataFrame, activation: float, name: str) -> Figure:
    """Draw the paths behind an activation, one after the other, until they reach it.

    Parameters
    ----------
    table : DataFrame
        Columns path, origin and contribution.
    activation : float
        What they add up to.
    name : str
        The neuron that is explained.

    Returns
    -------
    Figure
        A bar for each path, from where the one before ended; red adds, blue takes away.
    """
    with style():
        figure, (axes,) = panels(1, width=10.2, height=0.8 + 0.34 * (len(table) + 1))
        waterfall(axes, table, activation, name)
    return figure


def waterfall(axes: Axes, table: pd.DataFrame, activation: float, name: str) -> None:
    """Draw the bars of `explanation` into axes."""
    base = 0.0
    for line, part in enumerate(table.itertuples()):
        colour = "#b2182b" if part.contribution > 0 else "#2166ac"
        axes.barh(line, part.contribution, left=base, color=colour, height=0.62)
        base += part.contribution
        end = max(base, base - part.contribution)
        text = f" {part.contribution:+.3f}".replace("-", "−")
        axes.text(end, line, text, va="center", fontsize=8.5, color=INK)
        axes.plot([base, base], [line - 0.31, line + 1.31], color=GREY, lw=0.8)
    axes.barh(len(table), activation, color=INK, height=0.62)
    text = f" {activation:.3f}".replace("-", "−")
    axes.text(max(activation, 0), len(table), text, va="center", fontsize=8.5)
    quiet = ("input", "")
    labels = [
        part.path if part.origin in quiet else f"{part.path} ({part.origin})"
        for part in table.itertuples()
    ]
    axes.set_yticks(range(len(table) + 1), [*labels, f"activation of {name}"], fontsize=9)
    axes.get_yticklabels()[-1].set_fontweight("bold")
    axes.set_ylim(max(len(table), FEWEST_LINES) + 0.5, -0.5)
    axes.margins(x=0.08)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)


def domains(rows: pd.DataFrame, names: Mapping[str, str] | None = None) -> Figure:
    """Draw which primitives each domain uses, and how often its source code does.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``substrate_anatomy``.
    names : mapping of str to str, optional
        Names to show for the domains.

    Returns
    -------
    Figure
        One line a domain, one column a primitive, the most widely used first.
    """
    uses = rows[(rows["metric"] == "primitive_uses") & (rows["seed"] == rows["seed"].min())]
    uses = uses[uses["split"].str.contains(": ")]
    pairs = uses["split"].str.split(": ", expand=True)
    table = uses.assign(domain=pairs[0], primitive=pairs[1])
    table = table.pivot_table(index="domain", columns="primitive", values="value", sort=False)
    brain = table.loc[:, ~table.columns.str.startswith("substrate.")]
    order = (brain.notna().sum() * 1000 + brain.sum()).sort_values(ascending=False).index
    brain = brain[order]
    with style():
        figure, (axes,) = panels(1, width=10.6, height=1.5 + 0.36 * len(brain))
        known = np.log1p(brain.fillna(0).to_numpy())
        axes.imshow(np.where(known > 0, known, np.nan), cmap="Greens", vmin=-0.6, aspect="auto")
        for (line, column), count in np.ndenumerate(brain.to_numpy()):
            if count > 0:
                ink = "white" if known[line, column] > 0.75 * known.max() else INK
                look = {"ha": "center", "va": "center", "fontsize": 8.5, "color": ink}
                axes.text(column, line, f"{count:.0f}", **look)
        axes.set_xticks(range(len(order)), order, rotation=45, ha="right", fontsize=9)
        axes.set_yticks(range(len(brain)), [(names or {}).get(d, d) for d in brain.index])
        axes.grid(visible=False)
        axes.tick_params(length=0)
        axes.spines[["left", "bottom"]].set_visible(False)
    return figure
