"""Figures of halting, of digits and of fine-tuning: rows or summaries in, a Figure out."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from plasticity.plots.style import PALETTE, error_bars, line_with_band, panels, style, with_bounds

RULES = {
    "entropy": ("entropy of the prediction", PALETTE[0], "o-"),
    "divergence": ("change of the prediction", PALETTE[1], "^-"),
    "argmax": ("changed most likely token", PALETTE[2], "v-"),
    "learned": ("learned unit", PALETTE[3], "D-"),
}
DIGITS = {
    "vision": ("PNN", PALETTE[0]),
    "vit_equal_parameters": ("ViT, 1 layer", PALETTE[1]),
    "vit_equal_compute": ("4-layer ViT", PALETTE[3]),
}
TASKS = {
    "glue": ("PNN", PALETTE[0]),
    "glue_bert": ("4-layer BERT with PNN's losses", PALETTE[5]),
    "glue_untrained": ("PNN, not pre-trained", "#777777"),
}


def halting(rows: pd.DataFrame) -> Figure:
    """Draw accuracy against mean steps for every rule, and how much faster the chosen one is.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_extensions``, variant ``halting``. Thresholds are each seed's own, so
        the points of the seeds are drawn, not their means.

    Returns
    -------
    Figure
        Two panels.
    """
    own = rows[rows["variant"] == "halting"]
    with style():
        figure, (curve, speed) = panels(2, width=5, height=3.8)
        for split, (label, colour, mark) in RULES.items():
            wide = _wide(own, split)
            for seed, line in wide.groupby("seed"):
                line = line.sort_values("halted_steps")
                name = label if seed == wide["seed"].min() else None
                curve.plot(
                    line["halted_steps"], line["halted_accuracy"], mark, color=colour, label=name,
                    ms=4, lw=1,
                )  # fmt: skip
        fixed = own[(own["split"] == "fixed") & (own["metric"] == "halted_accuracy")]
        for seed, line in fixed.groupby("seed"):
            name = "as many steps for every text" if seed == fixed["seed"].min() else None
            curve.plot(line["step"], line["value"], "s--", color="black", label=name, ms=5, lw=1)
        chosen = _wide(own, "chosen")
        curve.plot(
            chosen["halted_steps"], chosen["halted_accuracy"], "*", color="red", ms=13,
            label="chosen on validation texts",
        )  # fmt: skip
        curve.set(title="Accuracy and steps", xlabel="mean steps", ylabel="test accuracy, %")
        curve.legend(fontsize=7.5, loc="lower right")
        ratios = own[own["metric"] == "halting_speed_up"]
        for place, (_, found) in enumerate(ratios.groupby("split")):
            speed.bar(place, found["value"].mean(), color=PALETTE[place], width=0.6)
            speed.plot([place] * len(found), found["value"], "o", color="black", ms=4)
        names = [split.replace("batch_", "") for split in sorted(ratios["split"].unique())]
        speed.set_xticks(range(len(names)), names)
        speed.axhline(1, color="black", lw=0.8)
        speed.axhline(1.5, color="#777777", ls="--", lw=1)
        speed.set(title="Inference", xlabel="texts at a time", ylabel="times as fast as all steps")
    return figure


def _wide(rows: pd.DataFrame, split: str) -> pd.DataFrame:
    """Return steps and accuracy of a rule as columns, one row for each seed and threshold."""
    own = rows[(rows["split"] == split) & rows["metric"].isin(["halted_accuracy", "halted_steps"])]
    return own.pivot(index=["seed", "step"], columns="metric", values="value").reset_index()


def digits(summary: pd.DataFrame) -> Figure:
    """Draw accuracy on digits by step and beside ViTs, against compute.

    Parameters
    ----------
    summary : DataFrame
        Columns variant, split, step, metric, mean, low, high, over seeds.

    Returns
    -------
    Figure
        Two panels; intervals are 95 % over seeds.
    """
    with style():
        figure, (steps, cost) = panels(2, width=4.6, height=3.6)
        line = summary[(summary["variant"] == "vision") & (summary["metric"] == "readout_accuracy")]
        bounds = with_bounds(line.sort_values("step"))
        line_with_band(steps, bounds, sorted(line["step"]), PALETTE[0])
        steps.axvline(line["step"].max() / 2, color="#bbbbbb", ls="--", lw=1, zorder=0)
        steps.set(title="PNN on digits, step by step", xlabel="steps", ylabel="test accuracy, %")
        at_zero = summary[summary["step"] == 0].set_index(["variant", "metric", "split"])
        for variant, (label, colour) in DIGITS.items():
            if (variant, "accuracy", "test") in at_zero.index:
                own = with_bounds(at_zero.loc[[(variant, "accuracy", "test")]])
                adds = at_zero.loc[(variant, "multiply_adds", "blocks"), "mean"]
                count = at_zero.loc[(variant, "parameters", "all"), "mean"]
                name = f"{label}: {count:,.0f} parameters"
                cost.errorbar(
                    [adds / 1e6], own["mean"], yerr=error_bars(own), fmt="o", ms=8, color=colour,
                    label=name,
                )  # fmt: skip
        cost.set(xlabel="million multiply-adds an image", title="Accuracy and compute")
        cost.legend(fontsize=7.5)
    return figure


def fine_tuning(summary: pd.DataFrame, score: str) -> Figure:
    """Draw each arm's score on a task beside the majority's.

    Parameters
    ----------
    summary : DataFrame
        Columns variant, split, step, metric, mean, low, high, over seeds.
    score : str
        What the task is scored with, for the axis.

    Returns
    -------
    Figure
        One panel; intervals are 95 % over seeds.
    """
    with style():
        figure, (axes,) = panels(1, width=5.6, height=2.8)
        scores = summary[(summary["metric"] == "task_score") & (summary["split"] == "test")]
        scores = scores.set_index("variant")
        shown = [name for name in TASKS if name in scores.index][::-1]
        for place, variant in enumerate(shown):
            own, colour = with_bounds(scores.loc[[variant]]), TASKS[variant][1]
            axes.errorbar(own["mean"], [place], xerr=error_bars(own), fmt="o", ms=8, color=colour)
        majority = summary.loc[summary["metric"] == "majority_score", "mean"].iloc[0]
        axes.axvline(majority, color="black", lw=1, label="always the commonest answer")
        axes.set_yticks(range(len(shown)), [TASKS[name][0] for name in shown])
        axes.set(xlabel=score, ylim=(-0.6, len(shown) - 0.4))
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.legend(fontsize=7.5)
    return figure
