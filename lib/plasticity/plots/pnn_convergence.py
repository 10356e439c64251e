"""Figures of convergence: summaries of rows in, a Figure out."""

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from plasticity.plots import pnn
from plasticity.plots.pnn import COLOURS, SOURCE_COLOUR
from plasticity.plots.style import PALETTE, panels, style

RULES = {
    "convergence_step": "first repeat (reconstructed)",
    "last_change_step": "last change",
    "small_divergence_step": "small divergence",
    "small_change_step": "small change of the state",
    "right_for_good_step": "right for good",
}
LABELS = {**pnn.LABELS, **RULES}
CLASSES = {"easy": PALETTE[2], "medium": PALETTE[1], "hard": PALETTE[4]}
MARKERS = {"easy": "o", "medium": "s", "hard": "^"}
GAPS = {
    "step_gap": ("measured", PALETTE[0]),
    "label_null_gap": ("classes exchanged", "#dddddd"),
    "target_null_gap": ("targets exchanged", "#aaaaaa"),
    "endpoint_null_gap": ("classes exchanged among\ntokens with like endpoints", "#777777"),
}
THIRDS = ("frequent", "middle", "rare")


def figure_2(
    summary: pd.DataFrame,
    counts: Mapping[str, Sequence[float]],
    steps: Mapping[str, float],
    stability: Mapping[str, Sequence[float]],
    shares: Mapping[str, float],
) -> Figure:
    """Draw the four panels of the paper's figure 2 for one arm, the paper's values in grey.

    Parameters
    ----------
    summary : DataFrame
        Columns split, step, metric, mean, low, high of one arm, with ``converged_tokens``,
        ``convergence_step`` (steps), ``prediction_stability`` and ``token_share`` (percent); the
        splits are the classes.
    counts : mapping of str to sequence of float
        The paper's tokens by step, from 1 on, for each class.
    steps : mapping of str to float
        The paper's mean steps.
    stability : mapping of str to sequence of float
        The paper's stability by step, percent.
    shares : mapping of str to float
        The paper's shares, percent.

    Returns
    -------
    Figure
        Tokens by step and class, mean step, stability, shares. A class without tokens has no mean.
    """
    with style():
        figure, grid = plt.subplots(2, 2, figsize=(9.4, 7))
        _tokens_by_step(grid[0, 0], _metric(summary, "converged_tokens"), counts)
        _class_bars(grid[0, 1], _metric(summary, "convergence_step"), steps, "{:.2f}")
        grid[0, 1].set(ylabel="steps", title="Mean step of convergence")
        _stability(grid[1, 0], _metric(summary, "prediction_stability"), stability)
        _class_bars(grid[1, 1], _metric(summary, "token_share"), shares, "{:.1f}")
        grid[1, 1].set(ylabel="hidden tokens (%)", title="Shares of the classes")
    return figure


def _metric(summary: pd.DataFrame, name: str) -> pd.DataFrame:
    return summary[summary["metric"] == name]


def _tokens_by_step(axes: Axes, found: pd.DataFrame, source: Mapping[str, Sequence[float]]) -> None:
    total, source_total = found["mean"].sum(), sum(map(sum, source.values()))
    for index, (name, colour) in enumerate(CLASSES.items()):
        own = found[found["split"] == name].sort_values("step")
        place = own["step"] + 0.27 * (index - 1)
        share = 100 * own[["mean", "low", "high"]] / total
        errors = [share["mean"] - share["low"], share["high"] - share["mean"]]
        axes.bar(place, share["mean"], 0.25, color=colour, yerr=errors, label=name)
        there = [step + 0.27 * (index - 1) for step in range(1, len(source[name]) + 1)]
        axes.plot(there, [100 * n / source_total for n in source[name]], "D", color=SOURCE_COLOUR)
    axes.plot([], [], "D", color=SOURCE_COLOUR, label="paper (WikiText-103)")
    axes.set(xlabel="step of convergence", ylabel="hidden tokens (%)")
    axes.set_title("Tokens by step of convergence")
    axes.set_xticks(sorted(set(found["step"])))
    axes.legend(fontsize=8)


def _class_bars(axes: Axes, found: pd.DataFrame, source: Mapping[str, float], form: str) -> None:
    found, names = found.set_index("split"), []
    for place, (name, colour) in enumerate(CLASSES.items()):
        if name in found.index:
            own = found.loc[name]
            errors = [[own["mean"] - own["low"]], [own["high"] - own["mean"]]]
            axes.bar(place, own["mean"], 0.6, color=colour, yerr=errors)
        shown = form.format(found.loc[name, "mean"]) if name in found.index else "no token"
        names.append(f"{name}\nours {shown}\npaper {form.format(source[name])}")
        axes.plot(place, source[name], "D", color=SOURCE_COLOUR)
    axes.set_xticks(range(len(CLASSES)), names)
    axes.set_ylim(bottom=0)


def _stability(axes: Axes, found: pd.DataFrame, source: Mapping[str, Sequence[float]]) -> None:
    for name, colour in CLASSES.items():
        marker, theirs = MARKERS[name], source[name]
        steps = range(1, len(theirs) + 1)
        axes.plot(steps, theirs, "--", marker=marker, color=colour, mfc="white", alpha=0.7)
        own = found[found["split"] == name].sort_values("step")
        axes.plot(own["step"], own["mean"], marker=marker, color=colour, label=name)
        axes.fill_between(own["step"], own["low"], own["high"], color=colour, alpha=0.2)
    axes.plot([], [], "--", color=SOURCE_COLOUR, label="paper (dashed)")
    axes.set(xlabel="step", ylabel="predictions kept (%)", ylim=(-3, 103))
    axes.set_title("Stability: same prediction as one step before")
    axes.set_xticks(sorted(set(found["step"])))
    axes.legend(fontsize=8, loc="lower right")


def rules(summary: pd.DataFrame) -> Figure:
    """Draw the mean step of each class by every rule, one panel for each arm.

    Parameters
    ----------
    summary : DataFrame
        Columns variant, split, metric, mean, low, high; the metrics are the keys of `RULES`.

    Returns
    -------
    Figure
    """
    arms = list(dict.fromkeys(summary["variant"]))
    with style():
        figure, grid = panels(len(arms), width=4.8, height=3.4)
        for axes, arm in zip(grid, arms, strict=True):
            for row, rule in enumerate(RULES):
                own = summary[(summary["variant"] == arm) & (summary["metric"] == rule)]
                own = own[own["split"].isin(CLASSES)]
                axes.plot(own["mean"], [row] * len(own), color="#cccccc", linewidth=3, zorder=1)
            for name, colour in CLASSES.items():
                chosen = (summary["variant"] == arm) & (summary["split"] == name)
                own = summary[chosen & summary["metric"].isin(RULES)]
                shift = 0.14 * (list(CLASSES).index(name) - 1)
                rows = [list(RULES).index(rule) + shift for rule in own["metric"]]
                errors = [own["mean"] - own["low"], own["high"] - own["mean"]]
                axes.errorbar(
                    own["mean"], rows, xerr=errors, fmt=MARKERS[name], color=colour, label=name
                )
            axes.set(xlabel="mean step", title=pnn.label(arm), ylim=(len(RULES) - 0.5, -0.5))
            axes.set_xlim(left=-0.2)
            axes.set_yticks(range(len(RULES)), list(RULES.values()) if axes is grid[0] else [])
        grid[-1].legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def nulls_and_frequency(summary: pd.DataFrame) -> Figure:
    """Draw the gap between hard and easy beside its nulls, and steps by frequency of the word.

    Parameters
    ----------
    summary : DataFrame
        Columns variant, split, metric, mean, low, high, with ``step_gap`` and the nulls' gaps and
        bounds, ``convergence_step`` by third and ``frequency_correlation``.

    Returns
    -------
    Figure
        Left: the gap by the reconstructed rule; a tick marks the bound that a null reaches in 97.5%
        of exchanges. Middle: mean step by third. Right: rank correlation of frequency and step.
    """
    arms = list(dict.fromkeys(summary["variant"]))
    with style():
        figure, (gaps, thirds, ranks) = panels(3, width=4.3, height=3.9)
        for place, arm in enumerate(arms):
            own = summary[summary["variant"] == arm].set_index(["metric", "split"]).sort_index()
            _gap_bars(gaps, own, place)
            shift = 0.12 * (place - (len(arms) - 1) / 2)
            _by_third(thirds, own, arm, shift)
            _correlations(ranks, own, arm, shift)
        gaps.axhline(0, color="black", linewidth=0.8)
        gaps.set_xticks(
            range(len(arms)), [textwrap.fill(pnn.label(arm), 13) for arm in arms], fontsize=8
        )
        gaps.set(ylabel="steps", title="Hard minus easy, first repeat")
        for name, colour in GAPS.values():
            gaps.bar(0, 0, color=colour, label=name)
        gaps.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2)
        thirds.set_xticks(range(len(THIRDS)), THIRDS)
        thirds.set(xlabel="third of hidden tokens", ylabel="mean step")
        thirds.set_title("First repeat, by frequency of the word")
        thirds.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
        ranks.axvline(0, color="black", linewidth=0.8)
        ranks.set_yticks(range(len(RULES)), list(RULES.values()))
        ranks.set(xlabel="rank correlation", ylim=(len(RULES) - 0.5, -0.5))
        ranks.set_title("Frequency and step, by rule")
        ranks.plot([], [], "o", color=SOURCE_COLOUR, label="all tokens")
        ranks.plot([], [], "o", color=SOURCE_COLOUR, mfc="white", label="without easy ones")
        ranks.legend(fontsize=7, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)
    return figure


def _gap_bars(axes: Axes, own: pd.DataFrame, place: int) -> None:
    split = "convergence_step:hard_minus_easy"
    for index, (metric, (_, colour)) in enumerate(GAPS.items()):
        if (metric, split) not in own.index:
            continue
        found, x = own.loc[metric, split], place + 0.2 * (index - 1.5)
        axes.bar(x, found["mean"], 0.18, color=colour)
        if metric == "step_gap":
            errors = [[found["mean"] - found["low"]], [found["high"] - found["mean"]]]
            axes.errorbar(x, found["mean"], errors, color="black")
        elif (f"{metric}_bound", split) in own.index:
            axes.plot(x, own.loc[(f"{metric}_bound", split), "mean"], "_", color="black", ms=13)


def _by_third(axes: Axes, own: pd.DataFrame, arm: str, shift: float) -> None:
    found = own.loc["convergence_step"].reindex(THIRDS)
    errors = [found["mean"] - found["low"], found["high"] - found["mean"]]
    places = [index + shift for index in range(len(THIRDS))]
    axes.errorbar(places, found["mean"], errors, fmt="o-", color=COLOURS[arm], label=LABELS[arm])


def _correlations(axes: Axes, own: pd.DataFrame, arm: str, shift: float) -> None:
    for split, face in (("all", COLOURS[arm]), ("not_easy", "white")):
        for row, rule in enumerate(RULES):
            if ("frequency_correlation", f"{rule}:{split}") in own.index:
                value = own.loc[("frequency_correlation", f"{rule}:{split}"), "mean"]
                axes.plot(value, row + shift, "o", color=COLOURS[arm], mfc=face)
