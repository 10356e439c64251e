"""Figures of the learning rules: tidy rows of ``substrate_rules`` in, a Figure out."""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from plasticity.plots.style import PALETTE, panels, style
from plasticity.plots.substrate_anatomy import GREY, curve

RED, BLUE, GREEN = PALETTE[3], PALETTE[0], PALETTE[2]


def rules(rows: pd.DataFrame) -> Figure:
    """Draw every rule as a curve.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``substrate_rules``; all are drawn of the first seed, but for the principal
        directions, which are drawn of every seed.

    Returns
    -------
    Figure
        Three by three panels.
    """
    first = rows[rows["seed"] == rows["seed"].min()]
    with style():
        figure, axes = plt.subplots(3, 3, figsize=(10.6, 9.2))
        (modulator, bounded, contrast), (oja, sanger, reward), (errors, counts, replay) = axes
        _modulator(modulator, first)
        _bounded(bounded, first)
        _contrast(contrast, first)
        _alignment(oja, rows, "oja", "Oja: the first principal direction")
        _alignment(sanger, rows, "sanger", "Sanger: the first three, in order")
        _reward(reward, first)
        _errors(errors, first)
        _counts(counts, first)
        _replay(replay, first)
    return figure


def _modulator(axes: Axes, rows: pd.DataFrame) -> None:
    splits = [s for s in dict.fromkeys(rows["split"]) if s.startswith("modulator")]
    shades = plt.get_cmap("viridis")(np.linspace(0.05, 0.85, len(splits)))
    for split, colour in zip(splits, shades, strict=True):
        found = curve(rows, split, "weight")
        axes.plot(found.index, found, color=colour, label=split.removeprefix("modulator "))
    axes.set(title="Third factor: the modulator", xlabel="updates", ylabel="weight, same pairs")
    axes.legend(title="modulator", fontsize=8, title_fontsize=8, loc="upper left", ncols=2)
    axes.set_ylim(-0.03, 1.35)


def _bounded(axes: Axes, rows: pd.DataFrame) -> None:
    for name, colour in (("together", RED), ("apart", BLUE), ("in turn", GREY)):
        found = curve(rows, f"hebbian, {name}", "weight")
        axes.plot(found.index, found, color=colour, label=name)
    for bound in (-1, 1):
        axes.axhline(bound, color="black", linestyle=":", linewidth=1)
    axes.set(title="Hebb, bounded", xlabel="updates", ylabel="weight")
    axes.set_ylim(-1.6, 1.1)
    axes.legend(title="source and target", fontsize=8, title_fontsize=8, ncols=3, loc="lower right")


def _contrast(axes: Axes, rows: pd.DataFrame) -> None:
    for name, label, colour in (("pairs", "seen pairs", RED), ("others", "all others", BLUE)):
        found = curve(rows, f"contrast, {name}", "weight")
        axes.plot(found.index, found, color=colour, label=label)
    axes.axhline(0, color="black", linestyle=":", linewidth=1)
    axes.set(title="Contrast: drawn negatives weaken", xlabel="updates", ylabel="mean weight")
    axes.legend(fontsize=8, loc="center right")


def _alignment(axes: Axes, rows: pd.DataFrame, rule: str, title: str) -> None:
    splits = [s for s in dict.fromkeys(rows["split"]) if s.startswith(f"{rule}, component")]
    for split, colour in zip(splits, (RED, BLUE, GREEN), strict=False):
        for number, seed in enumerate(sorted(set(rows["seed"]))):
            found = curve(rows[rows["seed"] == seed], split, "alignment")
            label = split.removeprefix(f"{rule}, ") if number == 0 else None
            axes.plot(found.index, found, color=colour, alpha=0.75, lw=1.1, label=label)
    axes.set(title=title, xlabel="updates", ylabel="|cosine| to the direction", ylim=(0, 1.03))
    axes.legend(fontsize=8, loc="lower right")


def _reward(axes: Axes, rows: pd.DataFrame) -> None:
    splits = [s for s in dict.fromkeys(rows["split"]) if s.startswith("reward")]
    plain = [split for split in splits if "law" not in split]
    for split, colour in zip(plain, (BLUE, GREEN, RED), strict=True):
        law, found = (curve(rows, name, "weight") for name in (f"{split}, law", split))
        axes.plot(law.index, law, color=colour, lw=1)
        axes.plot(found.index, found, "o", color=colour, markersize=4, label=split.split()[-1])
    axes.set(title="Reward: credit for what came before")
    axes.set(xlabel="ticks from use to reward", ylabel="weight gained")
    axes.legend(title="line: decay^ticks", fontsize=8, title_fontsize=8)


def _errors(axes: Axes, rows: pd.DataFrame) -> None:
    looks = {
        "delta": ("delta", BLUE, "-", 1.3),
        "float": ("Adam, 64-bit moments", GREY, "-", 3.5),
        "adam": ("Adam, 16-byte synapse", RED, "--", 1.3),
    }
    for name, (label, colour, line, width) in looks.items():
        found = curve(rows, f"errors, {name}", "squared_error")
        axes.plot(found.index, found, line, color=colour, lw=width, label=label)
    axes.set(title="Errors: delta, and Adam inside 16 bytes", yscale="log", xlabel="updates")
    axes.set_ylabel("squared error")
    axes.legend(fontsize=8, loc="lower left")


def _counts(axes: Axes, rows: pd.DataFrame) -> None:
    splits = [s for s in dict.fromkeys(rows["split"]) if s.startswith("count")]
    shades = plt.get_cmap("viridis")(np.linspace(0.05, 0.85, len(splits)))
    for split, colour in zip(splits, shades, strict=True):
        found = curve(rows, split, "weight")
        axes.plot(found.index, found, ".-", color=colour, label=split.removeprefix("count, "))
    axes.set(title="Counts: a weight is a share", xscale="log", xlabel="uses, consolidated after")
    axes.set(ylabel="weight", ylim=(0, 1.03))
    axes.legend(fontsize=8, loc="upper right")


def _replay(axes: Axes, rows: pd.DataFrame) -> None:
    found, law = (curve(rows, name, "replay_share") for name in ("replay", "replay, law"))
    axes.bar(found.index / 10, found, width=0.07, color=PALETTE[4], label="lived again")
    axes.plot(law.index / 10, law, "k_", markersize=11, label="in proportion to surprise")
    axes.set(title="Replay: what surprised comes back", xlabel="reward of the episode")
    axes.set_ylabel("share of replays (%)")
    axes.legend(fontsize=8, loc="upper left")


def keeping(rules_rows: pd.DataFrame, anatomy_rows: pd.DataFrame) -> Figure:
    """Draw what consolidation keeps, and what a crash leaves.

    Parameters
    ----------
    rules_rows : DataFrame
        Tidy rows of ``substrate_rules``.
    anatomy_rows : DataFrame
        Tidy rows of ``substrate_anatomy``.

    Returns
    -------
    Figure
        Left: synapses by weight before and after `consolidate`. Right: commits found again, by
        how much of the log reached the disk. Both of the first seed.
    """
    rows = rules_rows[rules_rows["seed"] == rules_rows["seed"].min()]
    with style():
        figure, (weights, log) = panels(2, width=5.2, height=3.2)
        before = curve(rows, "consolidation 0, pending", "synapses")
        after = curve(rows, "consolidation 2, rows", "synapses")
        edges = np.append(before.index, before.index[-1] + 10) / 100
        weights.stairs(before, edges, fill=True, color="#dddddd", label="grown (pending)")
        weights.stairs(after, edges, fill=True, color=BLUE, alpha=0.75, label="kept (in rows)")
        weights.set(title="consolidate(epsilon): weak synapses vanish", xlabel="weight")
        weights.set_ylabel("synapses")
        weights.legend(fontsize=8)
        rows = anatomy_rows[anatomy_rows["seed"] == anatomy_rows["seed"].min()]
        found = curve(rows, "cut log", "commits_found")
        log.step(found.index / 1000, found, where="post", color=RED)
        log.plot(found.index / 1000, found, "o", color=RED, markersize=3.5)
        log.set(title="A crash: every cut reopens at a commit", yticks=range(int(found.max()) + 1))
        log.set(xlabel="kilobytes of the log that reached the disk", ylabel="commits found again")
    return figure
