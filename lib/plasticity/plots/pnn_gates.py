"""Figures of the gate: tidy rows of ``pnn_gates`` in, a Figure out."""

from collections.abc import Mapping

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from plasticity.plots.style import PALETTE, line_with_band, panels, style

LABELS = {"pnn": "PNN", "pnn_untrained": "untrained PNN"}
POPULATIONS = {
    "test": "all tokens",
    "masked": "masked tokens",
    "unmasked": "unmasked tokens",
    "with_padding": "padded lines, padding counted",
    "without_padding": "padded lines, padding left out",
    "padding": "the padding alone",
}
# What a share of variance is due to: first what is known without the token, then what is not.
PROFILE = {
    "step": "step",
    "dimension": "dimension",
    "step_dimension": "step × dimension",
}
TOKEN = {
    "token": "token",
    "step_token": "step × token",
    "dimension_token": "dimension × token",
    "rest": "all three",
}
SOURCE_COLOUR = "#777777"
COLOURS = {
    "pnn": PALETTE[0],
    "pnn_untrained": PALETTE[1],
    "masked": PALETTE[3],
    "unmasked": PALETTE[0],
}


def _by_step(summary: pd.DataFrame, variant: str, population: str, metric: str) -> pd.DataFrame:
    chosen = (summary["variant"] == variant) & (summary["metric"] == metric)
    return summary[chosen & (summary["split"] == population)].sort_values("step")


def _first_seed(rows: pd.DataFrame, population: str, step: int, metric: str) -> np.ndarray:
    """Return the trained model's values of its first seed, which no other seed shares."""
    own = rows[(rows["variant"] == "pnn") & (rows["metric"] == metric)]
    own = own[(own["seed"] == own["seed"].min()) & (own["split"] == f"{population}, step {step}")]
    return own.sort_values("step")["value"].to_numpy()


def _steps(rows: pd.DataFrame) -> list[int]:
    return sorted(set(rows.loc[rows["metric"] == "gate_mean", "step"]))


def _histogram(axes, shares: np.ndarray, colour, name: str, fill: float = 0.15) -> None:
    edges = np.linspace(0, 1, len(shares) + 1)
    axes.stairs(shares, edges, color=(*mpl.colors.to_rgb(colour), fill), fill=True)
    axes.stairs(shares, edges, color=colour, label=name, linewidth=1.3)


def figure_3(
    rows: pd.DataFrame, summary: pd.DataFrame, source: Mapping[str, tuple[float, ...]]
) -> Figure:
    """Draw the paper's figure 3 of tokens without padding.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_gates``, variants ``pnn`` and ``pnn_untrained``. The lower panels show
        their first seed: the dimensions of another have nothing to do with them.
    summary : DataFrame
        The same over seeds: columns variant, split, step, metric, mean, low, high.
    source : mapping of str to tuple of float
        The paper's ``gate_mean``, ``gate_std`` and ``gate_active_share`` by step.

    Returns
    -------
    Figure
        Two by two panels, in the paper's order.
    """
    steps = _steps(rows)
    with style():
        figure, axes = plt.subplots(2, 2, figsize=(9.4, 7))
        (means, active), (heat, tokens) = axes
        _draw_means(means, summary, source)
        numbers = range(1, len(source["gate_active_share"]) + 1)
        active.plot(numbers, source["gate_active_share"], "s--", color=SOURCE_COLOUR, label="paper")
        for variant in LABELS:
            found = _by_step(summary, variant, "test", "gate_active_share")
            line_with_band(active, found, found["step"], COLOURS[variant], LABELS[variant])
        active.axhline(50, color="black", linestyle=":", linewidth=1)
        active.set(ylim=(0, 100), xlabel="refinement step", ylabel="gates above one half (%)")
        active.set_title("Share of active gates")
        active.legend(fontsize=8, ncols=3, loc="upper right")
        _draw_heat_map(heat, rows, steps)
        colours = plt.get_cmap("viridis")(np.linspace(0.05, 0.85, len(steps)))
        for step, colour in zip(steps, colours, strict=True):
            shares = _first_seed(rows, "test", step, "gate_token_share")
            _histogram(tokens, shares, colour, f"step {step}")
        tokens.set(xlim=(0, 1), xlabel="mean gate of a token", ylabel="tokens (%)")
        tokens.set_title("Tokens by their mean gate")
        tokens.legend(fontsize=8)
        for one in (means, active):
            one.set_xticks(sorted({*steps, *numbers}))
    return figure


def _draw_means(axes, summary: pd.DataFrame, source: Mapping[str, tuple[float, ...]]) -> None:
    """Draw the mean gate by step, with the spread over tokens and dimensions as bars."""
    steps = np.arange(1, len(source["gate_mean"]) + 1)
    bars = {"capsize": 3, "linewidth": 1.2}
    axes.errorbar(
        steps - 0.12,
        source["gate_mean"],
        source["gate_std"],
        fmt="s--",
        color=SOURCE_COLOUR,
        label="paper",
        **bars,
    )
    for shift, variant in zip((0, 0.12), LABELS, strict=True):
        mean = _by_step(summary, variant, "test", "gate_mean")
        spread = _by_step(summary, variant, "test", "gate_std")["mean"].to_numpy()
        x = mean["step"] + shift
        colour, name = COLOURS[variant], LABELS[variant]
        axes.errorbar(x, mean["mean"], spread, fmt="o-", color=colour, label=name, **bars)
    axes.axhline(0.5, color="black", linestyle=":", linewidth=1)
    axes.set(ylim=(0, 1), xlabel="refinement step", ylabel="gate")
    axes.set_title("Mean gate ± spread")
    axes.legend(fontsize=8, ncols=3, loc="upper right")


def _draw_heat_map(axes, rows: pd.DataFrame, steps: list[int]) -> None:
    values = [_first_seed(rows, "test", step, "gate_dimension_mean") for step in steps]
    image = axes.imshow(
        np.array(values),
        aspect="auto",
        cmap="viridis",
        vmin=0,
        vmax=1,
        interpolation="nearest",
        extent=(-0.5, len(values[0]) - 0.5, steps[-1] + 0.5, steps[0] - 0.5),
    )
    axes.grid(visible=False)
    axes.set(xlabel="dimension", ylabel="refinement step", title="Mean gate of each dimension")
    axes.set_yticks(steps)
    axes.figure.colorbar(image, ax=axes, label="gate", pad=0.02)


def masked(rows: pd.DataFrame, summary: pd.DataFrame) -> Figure:
    """Draw masked against unmasked tokens.

    Parameters
    ----------
    rows, summary : DataFrame
        As for `figure_3`.

    Returns
    -------
    Figure
        Share of active gates, distance of gates from one half, and the token means of the last
        step in the first seed.
    """
    last = _steps(rows)[-1]
    measures = {
        "gate_active_share": ("gates above one half (%)", "Share of active gates"),
        "gate_distance_from_half": ("mean distance", "How far gates are from one half"),
    }
    with style():
        figure, axes = panels(3, width=3.9)
        for one, (metric, (unit, title)) in zip(axes, measures.items(), strict=False):
            for population in ("masked", "unmasked"):
                found = _by_step(summary, "pnn", population, metric)
                line_with_band(
                    one, found, found["step"], COLOURS[population], POPULATIONS[population]
                )
            found = _by_step(summary, "pnn_untrained", "test", metric)
            line_with_band(one, found, found["step"], SOURCE_COLOUR, LABELS["pnn_untrained"])
            one.set(xlabel="refinement step", ylabel=unit, title=title)
            one.set_xticks(_steps(rows))
            one.set_ylim(bottom=0)
        axes[0].set_ylim(0, 100)
        axes[0].axhline(50, color="black", linestyle=":", linewidth=1)
        axes[0].legend(fontsize=8)
        for population in ("masked", "unmasked"):
            shares = _first_seed(rows, population, last, "gate_token_share")
            _histogram(axes[2], shares, COLOURS[population], POPULATIONS[population])
        axes[2].set(xlim=(0, 1), xlabel="mean gate of a token", ylabel="tokens (%)")
        axes[2].set_title(f"Tokens by their mean gate, step {last}")
        axes[2].legend(fontsize=8)
    return figure


def padding(rows: pd.DataFrame, source_modes: tuple[float, ...]) -> Figure:
    """Draw how padding enters the histogram of token means, step by step.

    Parameters
    ----------
    rows : DataFrame
        As for `figure_3`.
    source_modes : tuple of float
        Where the paper's histogram of its last step has its modes.

    Returns
    -------
    Figure
        For each step the first seed's positions of padded lines, padding stacked on the tokens.
    """
    steps = _steps(rows)
    counts = rows[(rows["variant"] == "pnn") & (rows["metric"] == "tokens")]
    counts = counts[counts["seed"] == counts["seed"].min()].set_index("split")["value"]
    parts = {"padding": PALETTE[1], "without_padding": PALETTE[0]}
    with style():
        figure, axes = panels(len(steps), width=max(2.6, 10.4 / len(steps)), height=3)
        for one, step in zip(axes, steps, strict=True):
            base = 0.0
            for population, colour in parts.items():
                weight = counts[population] / counts["with_padding"]
                top = base + weight * _first_seed(rows, population, step, "gate_token_share")
                edges = np.linspace(0, 1, len(top) + 1)
                name = {"padding": "padding", "without_padding": "tokens"}[population]
                one.stairs(top, edges, baseline=base, fill=True, color=colour, label=name)
                base = top
            one.set(xlim=(0, 1), xlabel="mean gate of a position", title=f"Step {step}")
        for one in axes[1:]:
            one.sharey(axes[0])
            one.tick_params(labelleft=False)
        for place in source_modes:
            axes[-1].axvline(place, color=SOURCE_COLOUR, linestyle="--", linewidth=1)
        axes[0].plot([], [], "--", color=SOURCE_COLOUR, linewidth=1, label="paper's modes")
        axes[0].set_ylabel("positions (%)")
        axes[0].legend(fontsize=8, loc="upper right")
    return figure


def variance(summary: pd.DataFrame) -> Figure:
    """Draw what the gate varies with.

    Parameters
    ----------
    summary : DataFrame
        As for `figure_3`, with ``gate_variance_share`` (percent).

    Returns
    -------
    Figure
        One stacked bar for each model and population; blue is the same for every token.
    """
    shares = summary[summary["metric"] == "gate_variance_share"]
    shares = shares.set_index(["variant", "split"])["mean"]
    bars = [(variant, population) for variant in LABELS for population in ("masked", "unmasked")]
    shades = [
        *plt.get_cmap("Blues")([0.8, 0.6, 0.4]),
        *plt.get_cmap("Oranges")([0.75, 0.6, 0.4, 0.25]),
    ]
    with style():
        figure, (axes,) = panels(1, width=9.4, height=3)
        left = np.zeros(len(bars))
        for colour, (part, name) in zip(shades, {**PROFILE, **TOKEN}.items(), strict=True):
            widths = np.array(
                [shares[variant, f"{population}, {part}"] for variant, population in bars]
            )
            axes.barh(range(len(bars)), widths, left=left, color=colour, label=name, height=0.7)
            ink = "white" if np.dot(colour[:3], (0.3, 0.59, 0.11)) < 0.5 else "black"
            for row, (start, width) in enumerate(zip(left, widths, strict=True)):
                if width >= 3:  # a number would not fit into less
                    where, text = (start + width / 2, row), f"{width:.0f}"
                    axes.text(*where, text, ha="center", va="center", fontsize=8, color=ink)
            left += widths
        names = [f"{LABELS[variant]},\n{POPULATIONS[population]}" for variant, population in bars]
        axes.set_yticks(range(len(bars)), names)
        axes.invert_yaxis()
        axes.grid(visible=False)
        axes.set(xlim=(0, 100), xlabel="share of the gate's variance (%)")
        axes.legend(
            ncols=7, fontsize=8, loc="lower left", bbox_to_anchor=(-0.17, 1.0), columnspacing=1
        )
    return figure
