"""Figures of the released script's experiments: a summary of ``pnn_evidence`` in, a Figure out.

Blue panels show what the script measures, as released; the others what was measured on the test
set, with the refiner as it was before training in grey.
"""

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from plasticity.plots.style import (
    PALETTE,
    error_bars,
    line_with_band,
    panels,
    style,
    with_bounds,
)

BLUE, ORANGE, GREEN, GREY = PALETTE[0], PALETTE[1], PALETTE[2], "#777777"
MODELS = {"trained": (GREEN, "o-"), "untrained": (GREY, "s:")}
COMPONENTS = {"attention": PALETTE[3], "ffn": PALETTE[1], "gate": PALETTE[4]}
CLASSES = {"easy": GREEN, "medium": ORANGE, "hard": PALETTE[3]}
WIDTH, HEIGHT = 3.6, 3.2


def _points(summary: pd.DataFrame, metric: str, split: str, index: str = "step") -> pd.DataFrame:
    """Return mean, low and high by step; of one seed, which has no interval, the mean alone."""
    chosen = (summary["metric"] == metric) & summary["split"].isin(np.atleast_1d(split))
    return with_bounds(summary[chosen].set_index(index).sort_index())


def _released(summary: pd.DataFrame, *places: str) -> pd.DataFrame:
    """Return numbers of the script's JSON by place; those of one list by their place in it."""
    if len(places) == 1:
        return _points(summary, "released_evidence", places[0])
    return _points(summary, "released_evidence", places, "split").loc[list(places)]


def _bars(axes, found: pd.DataFrame, names: list[str], colour) -> None:
    axes.bar(names, found["mean"], 0.6, color=colour)
    errors = error_bars(found)
    axes.errorbar(range(len(names)), found["mean"], errors, fmt="none", color="black", capsize=3)


def _by_step(axes, summary: pd.DataFrame, metric: str, title: str, unit: str, what: str = "{}"):
    """Draw a quantity by step, of the trained refiner and of the untrained one."""
    for name, (colour, mark) in MODELS.items():
        found = _points(summary, metric, what.format(name))
        line_with_band(axes, found, found.index, colour, name, mark)
    axes.set(title=title, xlabel="step", ylabel=unit)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend(fontsize=8)


def meg_temporal_patterns(summary: pd.DataFrame) -> Figure:
    """Draw experiment 1: sizes of proposal, gate, change of state and update by step.

    Parameters
    ----------
    summary : DataFrame
        Columns variant, split, step, metric, mean, low, high, over seeds.

    Returns
    -------
    Figure
        Four panels as released, its points the batches; four of the test set.
    """
    titles = {
        "delta_generation": "Proposal before its norm",
        "gate_computation": "Gate",
        "hidden_update": "Change of state",
        "activity_magnitude": "Update",
    }
    steps = len(_points(summary, "gate_mean", "trained"))
    with style():
        figure, grid = plt.subplots(2, 4, figsize=(4 * WIDTH, 2 * HEIGHT))
        for axes, (name, title) in zip(grid[0], titles.items(), strict=True):
            found = _released(summary, f"meg_analysis/{name}/values")
            step = found.index % steps + 1
            axes.plot(step, found["mean"], ".", color=BLUE, alpha=0.4)
            means = found["mean"].groupby(step).mean()
            axes.plot(means.index, means, "o-", color=BLUE)
            axes.set(title=f"{title}, as released", xlabel="step", ylabel="mean size")
            axes.set_xticks(means.index)
        proposal, gate, relative, turn = grid[1]
        _by_step(proposal, summary, "proposal_rms", "Proposal after its norm", "root mean square")
        _by_step(gate, summary, "gate_mean", "Gate", "mean")
        _by_step(relative, summary, "relative_update", "Update", "of the state's length")
        _by_step(turn, summary, "update_cosine", "Update with the one before", "cosine")
    return figure


def optogenetics_suppression(summary: pd.DataFrame) -> Figure:
    """Draw experiment 2: what is lost where a component gives out less.

    Parameters
    ----------
    summary : DataFrame
        As for `meg_temporal_patterns`.

    Returns
    -------
    Figure
        Loss and accuracy as released; then nats lost on the test set, by degree, and by the one
        step at which a component gives out its mean.
    """
    rates = (25, 50, 75, 100)
    with style():
        figure, (loss, accuracy, degree, step) = panels(4, WIDTH, HEIGHT)
        for name, colour in COMPONENTS.items():
            for axes, metric in ((loss, "loss"), (accuracy, "accuracy")):
                arms = ["baseline", *(f"{name}_suppressed_{rate}" for rate in rates)]
                places = [f"optogenetics_results/{arm}/{metric}" for arm in arms]
                line_with_band(axes, _released(summary, *places), (0, *rates), colour, name)
            splits = [f"{name}, {rate} % suppressed" for rate in rates]
            at_all = summary[summary["step"] == 0]
            found = _points(at_all, "loss_increase", splits, "split").loc[splits]
            line_with_band(
                degree, found, rates, colour, f"{name}, after its norm" if name == "ffn" else name
            )
            found = _points(summary, "loss_increase", f"{name}, at its mean").loc[1:]
            line_with_band(step, found, found.index, colour, name)
        splits = [f"ffn before its norm, {rate} % suppressed" for rate in rates]
        found = _points(summary, "loss_increase", splits, "split").loc[splits]
        line_with_band(degree, found, rates, GREY, "ffn before its norm", "s:")
        loss.set(title="As released", xlabel="suppressed (%)", ylabel="loss, nats a token")
        accuracy.set(title="As released", xlabel="suppressed (%)", ylabel="accuracy, share")
        degree.set(title="Same masks", xlabel="suppressed (%)", ylabel="nats lost a token")
        step.set(title="At its mean at one step", xlabel="that step", ylabel="nats lost a token")
        step.xaxis.get_major_locator().set_params(integer=True)
        for axes in (loss, accuracy, degree, step):
            axes.legend(fontsize=8)
    return figure


def brain_activity_patterns(summary: pd.DataFrame) -> Figure:
    """Draw experiment 3: how selective each step is.

    Parameters
    ----------
    summary : DataFrame
        As for `meg_temporal_patterns`.

    Returns
    -------
    Figure
        Breadth and mean of the mean state, as released; then over how many dimensions updates are
        spread, and their sparsity.
    """
    steps = len(_points(summary, "gate_mean", "trained"))
    stages = ["embeddings", *(f"step_{step}" for step in range(steps))]
    with style():
        figure, (breadth, mean, spread, sparsity) = panels(4, WIDTH, HEIGHT)
        for axes, what in ((breadth, "breadth"), (mean, "mean_activity")):
            places = [f"brain_hypothesis_test/{stage}_{what}" for stage in stages]
            line_with_band(axes, _released(summary, *places), range(steps + 1), BLUE)
            axes.set_xticks(range(steps + 1), stages, rotation=30)
        breadth.set(title="Breadth, as released", ylabel="deviation over dimensions")
        mean.set(title="Mean, as released", ylabel="state units")
        _by_step(
            spread,
            summary,
            "participation_ratio",
            "Spread of updates",
            "dimensions that take part (%)",
            "update, {}",
        )
        _by_step(
            sparsity, summary, "hoyer_sparsity", "Sparsity of updates", "Hoyer's", "update, {}"
        )
    return figure


def dimensionwise_patterns(rows: pd.DataFrame, summary: pd.DataFrame) -> Figure:
    """Draw experiment 4: kinds of dimensions.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows, of which the first seed's give the dimensions that are drawn.
    summary : DataFrame
        As for `meg_temporal_patterns`.

    Returns
    -------
    Figure
        How many there are of each kind and up to two of each, as released; then shares on the test
        set beside those of dealt-out signs.
    """
    kinds = ("accumulator", "selector", "oscillator", "stable")
    place = "dimensionwise_analysis"
    one = rows[(rows["metric"] == "released_evidence") & (rows["seed"] == rows["seed"].min())]
    with style():
        figure, (counts, lines, shares) = panels(3, 1.2 * WIDTH, HEIGHT)
        found = _released(summary, *(f"{place}/pattern_counts/{kind}" for kind in kinds))
        _bars(counts, found, list(kinds), BLUE)
        counts.set(title="As released", ylabel="dimensions")
        paths = one[one["split"].str.startswith(f"{place}/step_activities/")]
        paths = paths.pivot_table(index="split", columns="step", values="value")
        for kind, colour in zip(kinds, PALETTE, strict=False):
            own = one.loc[one["split"] == f"{place}/dimension_patterns/{kind}", "value"].astype(int)
            for number, dimension in enumerate(own[:2]):
                lines.plot(paths[dimension].to_numpy(), "o-", color=colour, label=kind)
                if number:
                    lines.get_lines()[-1].set_label(None)
        lines.set(title="Some of them, as released", xlabel="step", ylabel="mean size")
        lines.xaxis.get_major_locator().set_params(integer=True)
        lines.legend(fontsize=8)
        _kind_shares(shares, summary, kinds)
        for axes in (counts, shares):
            axes.tick_params(axis="x", rotation=20)
    return figure


def _kind_shares(axes, summary: pd.DataFrame, kinds: tuple[str, ...]) -> None:
    for offset, (name, (colour, _)) in zip((-0.2, 0.2), MODELS.items(), strict=True):
        splits = [f"{kind}, {name}" for kind in kinds]
        found = _points(summary, "dimension_share", splits, "split").loc[splits]
        bound = _points(summary, "dimension_share_null_bound", splits, "split").loc[splits]
        places = np.arange(len(kinds)) + offset
        axes.bar(places, found["mean"], 0.38, color=colour, label=name)
        label = "97.5 % of deals" if name == "trained" else None
        axes.plot(places, bound["mean"], "_", color="black", markersize=16, label=label)
    axes.set_xticks(range(len(kinds)), kinds)
    axes.set(title="Beyond noise and growth", ylabel="of the dimensions (%)")
    axes.legend(fontsize=8)


def token_difficulty_analysis(summary: pd.DataFrame) -> Figure:
    """Draw experiment 5: what the model does with easy, medium and hard tokens.

    Parameters
    ----------
    summary : DataFrame
        As for `meg_temporal_patterns`.

    Returns
    -------
    Figure
        Size of the state by step with the deviation over tokens, and how much it grows, as
        released; then how far tokens are moved that are common or rare in the training text.
    """
    place = "token_difficulty_analysis"
    with style():
        figure, (sizes, gain, moved) = panels(3, 1.2 * WIDTH, HEIGHT)
        gains = {}
        for name, colour in CLASSES.items():
            found = _released(summary, f"{place}/{name}/mean")
            spread = _released(summary, f"{place}/{name}/std")["mean"]
            sizes.errorbar(
                found.index, found["mean"], spread, color=colour, label=name, capsize=3, fmt="o-"
            )
            gains[name] = found["mean"].iloc[-1] - found["mean"].iloc[0]
            for model, mark in (("trained", "o-"), ("untrained", ":")):
                own = _points(summary, "relative_update", f"{name}, {model}")
                line_with_band(moved, own, own.index, colour, f"{name}, {model}", mark)
        gain.bar(list(gains), list(gains.values()), 0.6, color=list(CLASSES.values()))
        sizes.set(title="Size of the state, as released", xlabel="step", ylabel="mean size")
        gain.set(title="Last less first, as released", ylabel="mean size")
        moved.set(title="By rarity in the training text", xlabel="step")
        moved.set_ylabel("update, of the state's length")
        for axes in (sizes, moved):
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.legend(fontsize=8)
    return figure


def layer_importance_analysis(summary: pd.DataFrame) -> Figure:
    """Draw experiment 6: components by what it costs to go without them.

    Parameters
    ----------
    summary : DataFrame
        As for `meg_temporal_patterns`.

    Returns
    -------
    Figure
        Ranking and curves as released; then nats lost in three ways of taking a component away.
    """
    ways = ("75 % suppressed", "at its mean", "of another token")
    place, rates = "layer_importance_analysis", (25, 50, 75)
    with style():
        figure, (ranking, curves, careful) = panels(3, 1.2 * WIDTH, HEIGHT)
        for number, (name, colour) in enumerate(COMPONENTS.items()):
            places = [f"{place}/{name}/suppression_{rate}/accuracy_drop" for rate in rates]
            found = _released(summary, *places)
            ranking.barh([name], 100 * found["mean"].iloc[-1], color=colour)
            line_with_band(curves, 100 * found, rates, colour, name)
            splits = [f"{name}, {way}" for way in ways]
            at_all = summary[summary["step"] == 0]
            found = _points(at_all, "loss_increase", splits, "split").loc[splits]
            where = np.arange(len(ways)) + 0.27 * (number - 1)
            careful.bar(where, found["mean"], 0.25, color=colour, label=name)
        careful.set_xticks(range(len(ways)), ways)
        careful.set(title="Three ways, after the norm, same masks", ylabel="nats lost a token")
        ranking.set(title="Suppressed by 75 %, as released", xlabel="points of accuracy lost")
        curves.set(title="As released", xlabel="suppressed (%)", ylabel="points of accuracy lost")
        for axes in (curves, careful):
            axes.legend(fontsize=8)
    return figure


def layerwise_activity_analysis(summary: pd.DataFrame) -> Figure:
    """Draw experiment 8: how the state grows.

    Parameters
    ----------
    summary : DataFrame
        As for `meg_temporal_patterns`.

    Returns
    -------
    Figure
        Mean size by step as released; then on the test set, and how straight the paths are.
    """
    names = list(MODELS)
    with style():
        figure, (size, careful, straight) = panels(3, 1.2 * WIDTH, HEIGHT)
        found = _released(summary, "layerwise_activity_analysis/mean_activity_per_step")
        line_with_band(size, found, found.index, BLUE)
        size.set(title="As released", xlabel="after step", ylabel="mean size of the state")
        size.xaxis.get_major_locator().set_params(integer=True)
        _by_step(careful, summary, "state_rms", "Masked tokens", "root mean square")
        found = _points(summary, "straightness", names, "split").loc[names]
        _bars(straight, found, names, [colour for colour, _ in MODELS.values()])
        straight.set(title="Straightness of paths", ylabel="end to end, of the path's length")
    return figure


def cross_token_interference(summary: pd.DataFrame) -> Figure:
    """Draw experiment 9: tokens among easy and hard neighbours.

    Parameters
    ----------
    summary : DataFrame
        As for `meg_temporal_patterns`.

    Returns
    -------
    Figure
        Probability by kind of neighbours as released; then what hiding a neighbour costs the same
        token, and what its presence adds.
    """
    contexts = ("easy_context", "hard_context", "mixed_context")
    places = [f"cross_token_interference/{one}/mean_performance" for one in contexts]
    contrasts = {
        "easy hidden": "easy hidden,\nnot shown",
        "hard hidden": "hard hidden,\nnot shown",
        "hard over easy": "hard hidden,\nnot easy",
        "easy there": "easy hidden,\nnot away",
        "hard there": "hard hidden,\nnot away",
    }
    splits = [f"{one}, trained" for one in contrasts]
    with style():
        figure, axes = plt.subplots(1, 2, figsize=(11, 3.4), width_ratios=(1, 1.8))
        _bars(axes[0], _released(summary, *places), [one.split("_")[0] for one in contexts], BLUE)
        axes[0].set(title="As released", xlabel="masked neighbours", ylabel="mean probability")
        found = _points(summary, "neighbour_cost", splits, "split").loc[splits]
        _bars(axes[1], found, list(contrasts.values()), GREEN)
        axes[1].axhline(0, color="black", lw=0.8)
        axes[1].set(title="Same token, one neighbour changed", ylabel="nats lost")
    return figure


def gate_entropy_analysis(summary: pd.DataFrame) -> Figure:
    """Draw experiment 10: the entropy of gates, and whether it knows what is right.

    Parameters
    ----------
    summary : DataFrame
        As for `meg_temporal_patterns`.

    Returns
    -------
    Figure
        Entropy by class as released; then by step for right and wrong predictions, and how well it
        tells them apart, beside the confidence of the prediction.
    """
    names = ("easy", "medium", "hard")
    places = [f"gate_entropy_analysis/{name}_tokens/mean_entropy" for name in names]
    with style():
        figure, (classes, steps, area) = panels(3, 1.2 * WIDTH, HEIGHT)
        found = _released(summary, *places)
        # Points: differences are small beside the values, and bars would have to start at 0.
        for place, (mean, error) in enumerate(zip(found["mean"], error_bars(found).T, strict=True)):
            colour = CLASSES[names[place]]
            classes.errorbar(place, mean, error[:, None], fmt="o", color=colour, capsize=4, ms=9)
        classes.set(title="Last step, as released", ylabel="entropy, nats", xlim=(-0.5, 2.5))
        classes.set_xticks(range(len(names)), names)
        for title, colour in (("right", GREEN), ("wrong", ORANGE)):
            for model, mark in (("trained", "o-"), ("untrained", ":")):
                own = _points(summary, "gate_entropy", f"{title}, {model}")
                line_with_band(steps, own, own.index, colour, f"{title}, {model}", mark)
        steps.set(title="By step", xlabel="step", ylabel="entropy, nats")
        steps.xaxis.get_major_locator().set_params(integer=True)
        steps.legend(fontsize=8)
        _by_step(
            area, summary, "area_under_curve", "Right from wrong", "area under curve", "gate, {}"
        )
        confidence = _points(summary, "area_under_curve", "confidence")["mean"].iloc[0]
        area.axhline(confidence, color=BLUE, ls="--", label="confidence")
        area.axhline(0.5, color="black", lw=0.8)
        area.legend(fontsize=8)
    return figure
