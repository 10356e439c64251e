"""Figures of ablations and of contraction: summaries in, a Figure out."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from plasticity.plots.style import PALETTE, error_bars, line_with_band, panels, style, with_bounds

# What is exchanged, by what it belongs to; the order is that of tables and figures.
GROUPS = {
    "gate": {
        "no_gate": "no gate",
        "constant_gate": "constant gate, one half",
        "scalar_gate": "one learned gate",
        "dimension_gate": "one learned gate a dimension",
    },
    "steps": {
        "one_step": "1 step",
        "two_steps": "2 steps",
        "six_steps": "6 steps",
        "eight_steps": "8 steps",
        "twelve_steps": "12 steps",
    },
    "refiner": {
        "half_width": "feed-forward, half as wide",
        "double_width": "feed-forward, twice as wide",
        "no_norm": "no norm on the proposal",
        "hierarchical": "hierarchical, five blocks",
        "step_embeddings": "told the step",
        "reinjection": "embeddings read at each step",
    },
    "start": {"true_zero": "truly starts at zero", "word_vectors": "embeddings from word vectors"},
    "sharing": {
        "four_refiners": "a refiner for each step",
        "four_layers": "4-layer BERT with PNN's losses",
        "universal_transformer": "one shared layer, no deltas",
        "hybrid_1": "1 BERT layer first",
        "hybrid_2": "2 BERT layers first",
        "hybrid_3": "3 BERT layers first",
        "hybrid_2_bert_settings": "2 BERT layers first, BERT's settings",
        "hybrid_3_bert_settings": "3 BERT layers first, BERT's settings",
    },
}
LABELS = {"pnn": "PNN"} | {name: text for own in GROUPS.values() for name, text in own.items()}
LABELS["shared_block"] = LABELS["universal_transformer"]  # as another chapter calls it
COLOURS = dict(zip(GROUPS, (PALETTE[index] for index in (0, 1, 2, 3, 4)), strict=True))
FOLLOWED = {
    "pnn": (PALETTE[0], "o-"),
    "no_gate": (PALETTE[1], "^-"),
    "no_norm": (PALETTE[2], "v-"),
    "reinjection": (PALETTE[4], "D-"),
    "universal_transformer": ("#777777", "s-"),
    "shared_block": ("#777777", "s-"),
}


def group_of(variant: str) -> str | None:
    """Return what an arm's exchange belongs to; None for PNN itself."""
    return next((name for name, own in GROUPS.items() if variant in own), None)


def ablations(differences: pd.DataFrame, summary: pd.DataFrame) -> Figure:
    """Draw what each exchange does to the loss, and accuracy against compute and parameters.

    Parameters
    ----------
    differences : DataFrame
        One row an arm: index variant, columns mean, low, high: its test loss minus PNN's.
    summary : DataFrame
        Columns variant, split, step, metric, mean, low, high, over seeds.

    Returns
    -------
    Figure
        Three panels; bars are 95 % intervals over seeds, paired in the first panel.
    """
    with style():
        figure, (forest, compute, size) = panels(3, width=4.3, height=4.6)
        found = differences.loc[[name for name in LABELS if name in differences.index]][::-1]
        for place, (variant, line) in enumerate(found.iterrows()):
            one = with_bounds(pd.DataFrame([line]))
            colour = COLOURS[group_of(variant)]
            forest.errorbar(one["mean"], [place], xerr=error_bars(one), fmt="o", color=colour)
        forest.axvline(0, color="black", lw=0.8)
        forest.set_yticks(range(len(found)), [LABELS[name] for name in found.index], fontsize=8)
        forest.set(title="Loss against PNN's", xlabel="nats a token; left is better")
        forest.locator_params(axis="x", nbins=4)
        _scatter(compute, summary, "flops_per_token", "total", "FLOPs a token, training")
        _scatter(size, summary, "parameters", "encoder", "parameters without embeddings and head")
        for group, colour in COLOURS.items():
            compute.plot([], [], "o", color=colour, label=group)
        compute.plot([], [], "*", color="black", label="PNN")
        figure.legend(*compute.get_legend_handles_labels(), loc="outside lower center", ncols=9)
        compute.set_title("Accuracy and compute")
        size.set_title("Accuracy and size")
    return figure


def _scatter(axes, summary: pd.DataFrame, cost: str, split: str, name: str) -> None:
    """Draw test accuracy against a cost, every arm once, the best at each cost joined."""
    at_zero = summary[summary["step"] == 0].set_index(["metric", "split", "variant"]).sort_index()
    accuracy = with_bounds(at_zero.loc[("accuracy", "test")])
    costs = at_zero.loc[(cost, split)]["mean"]
    for variant in (name for name in LABELS if name in accuracy.index):
        own, group = accuracy.loc[[variant]], group_of(variant)
        colour = "black" if group is None else COLOURS[group]
        mark = "*" if group is None else "o"
        axes.errorbar(
            costs[[variant]], own["mean"], yerr=error_bars(own), fmt=mark, color=colour, ms=8
        )
    front = pd.DataFrame({"cost": costs, "accuracy": accuracy["mean"]}).sort_values("cost")
    front = front[front["accuracy"] == front["accuracy"].cummax()]
    axes.step(front["cost"], front["accuracy"], where="post", color="#999999", lw=1, zorder=0)
    axes.set(xlabel=name, ylabel="test accuracy, %")
    axes.locator_params(axis="x", nbins=5)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def beyond(summary: pd.DataFrame, trained_steps: int) -> Figure:
    """Draw accuracy, size of change and stretch of the map by step, far beyond training.

    Parameters
    ----------
    summary : DataFrame
        As for `ablations`, of arms that apply one module again and again.
    trained_steps : int
        Where training stops, for a mark.

    Returns
    -------
    Figure
        Three panels; bands are 95 % intervals over seeds.
    """
    with style():
        figure, (accuracy, change, stretch) = panels(3, width=4, height=3.6)
        for variant, (colour, mark) in FOLLOWED.items():
            own = summary[(summary["variant"] == variant) & (summary["split"] == "test")]
            for axes, metric in (
                (accuracy, "deeper_accuracy"),
                (change, "relative_change"),
                (stretch, "step_jacobian_norm"),
            ):
                line = own[own["metric"] == metric].sort_values("step")
                if len(line):
                    bounds = with_bounds(line)
                    line_with_band(axes, bounds, line["step"], colour, LABELS[variant], mark)
        for axes in (accuracy, change):
            axes.axvline(trained_steps, color="#bbbbbb", ls="--", lw=1, zorder=0)
        stretch.axhline(1, color="black", lw=0.8)
        change.set_yscale("log")
        accuracy.set(title="More steps than in training", ylabel="test accuracy, %")
        change.set(title="Does the state come to rest?", ylabel="change / length of the state")
        stretch.set(title="Largest stretch of the map", ylabel="largest singular value")
        for axes, name in ((accuracy, "steps"), (change, "step"), (stretch, "steps before")):
            axes.set_xlabel(name)
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.legend(fontsize=7.5)
    return figure
