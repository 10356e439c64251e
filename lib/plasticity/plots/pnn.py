"""Figures of Plastic Neural Networks: tidy rows or their summaries in, a Figure out."""

import itertools

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from plasticity.plots.style import PALETTE, panels, style

LABELS = {
    "pnn": "PNN",
    "pnn_as_paper": "PNN as in the paper",
    "pnn_equal_compute": "PNN at BERT's compute",
    "shared_block": "one shared block",
    "bert_4": "4-layer BERT",
    "bert_4_stepwise": "4-layer BERT with PNN's losses",
    "bert": "12-layer BERT",
    "bert_stepwise": "12-layer BERT with PNN's losses",
    "as_released": "as released",
    "as_paper": "as in the paper",
}
COLOURS = dict(
    zip(
        [name for name in LABELS if not name.startswith("as_")],
        [PALETTE[index] for index in (0, 9, 7, 2, 1, 5, 3, 4)],
        strict=True,
    )
)
SOURCE_COLOUR = "#777777"


def label(variant: str) -> str:
    """Return the name that tables and figures show for an arm."""
    return LABELS.get(variant, variant)


def _band(axes, x, summary: pd.DataFrame, colour, name: str, **line) -> None:
    axes.plot(x, summary["mean"], color=colour, label=name, **line)
    axes.fill_between(x, summary["low"], summary["high"], color=colour, alpha=0.2, linewidth=0)


def learning_curves(summary: pd.DataFrame, flops_per_token: dict[str, float]) -> Figure:
    """Draw validation accuracy against tokens and against compute.

    Parameters
    ----------
    summary : DataFrame
        Columns variant, metric, step (tokens), mean, low, high, with the metrics
        ``curve_accuracy`` and ``constant_guess_accuracy`` (percent).
    flops_per_token : dict of float
        Training cost of each variant.

    Returns
    -------
    Figure
        Two panels that share the vertical axis; the guess is a dashed line.
    """
    with style():
        figure, (by_tokens, by_compute) = panels(2, width=4.6)
        for variant in [v for v in COLOURS if v in set(summary["variant"])]:
            curve = summary.query("variant == @variant and metric == 'curve_accuracy'")
            curve = curve.sort_values("step")
            colour, name = COLOURS[variant], label(variant)
            _band(by_tokens, curve["step"] / 1e6, curve, colour, name)
            _band(by_compute, curve["step"] * flops_per_token[variant] / 1e12, curve, colour, name)
        guess = summary.query("metric == 'constant_guess_accuracy'")["mean"].mean()
        for axes in (by_tokens, by_compute):
            axes.axhline(guess, color=SOURCE_COLOUR, linestyle="--", linewidth=1)
            axes.set_ylim(bottom=0)
            axes.text(
                0.99,
                guess - 0.3,
                "commonest token",
                transform=axes.get_yaxis_transform(),
                color=SOURCE_COLOUR,
                ha="right",
                va="top",
                fontsize=8,
            )
        by_tokens.set(xlabel="training tokens (millions)", ylabel="validation accuracy (%)")
        by_tokens.set_title("Against tokens")
        by_compute.set(xlabel="training compute (10¹² FLOPs)", title="Against compute")
        arms = by_tokens.get_legend_handles_labels()
        figure.legend(*arms, fontsize=8, loc="outside lower center", ncols=4)
    return figure


def refinement(summary: pd.DataFrame, source: tuple[float, ...]) -> Figure:
    """Draw accuracy by refinement step, and what each step adds, beside the paper's figure.

    Parameters
    ----------
    summary : DataFrame
        Columns variant, metric, step, mean, low, high, with ``readout_accuracy`` (percent),
        ``readout_gain`` (percentage points) and ``constant_guess_accuracy``.
    source : tuple of float
        The paper's accuracies in percent, embeddings first.

    Returns
    -------
    Figure
        Left: levels. Right: gains, with the "about 10 points" that the paper's text claims.
    """
    with style():
        figure, (levels, gains) = panels(2, width=4.6)
        levels.plot(
            range(len(source)), source, "s--", color=SOURCE_COLOUR, label="paper (WikiText-103)"
        )
        gained = [after - before for before, after in itertools.pairwise(source)]
        gains.plot(range(1, len(source)), gained, "s--", color=SOURCE_COLOUR)
        for variant in [v for v in COLOURS if v in set(summary["variant"])]:
            for axes, metric in ((levels, "readout_accuracy"), (gains, "readout_gain")):
                chosen = (summary["variant"] == variant) & (summary["metric"] == metric)
                part = summary[chosen].sort_values("step")
                if len(part):
                    _band(axes, part["step"], part, COLOURS[variant], label(variant), marker="o")
        guess = summary.query("metric == 'constant_guess_accuracy'")["mean"].mean()
        levels.axhline(guess, color="black", linestyle=":", linewidth=1)
        levels.text(4, guess - 0.4, "commonest token", ha="right", va="top", fontsize=8)
        levels.set(xlabel="refinement step (0 = embeddings)", ylabel="test accuracy (%)")
        levels.set_title("Accuracy read out after each step")
        levels.set_ylim(bottom=0)
        gains.axhline(10, color="black", linestyle=":", linewidth=1)
        gains.text(4, 10, "“about 10 points a step”", ha="right", va="bottom", fontsize=8)
        gains.set(xlabel="refinement step", ylabel="percentage points", title="What each step adds")
        for axes in (levels, gains):
            axes.set_xticks(range(len(source)))
        arms = levels.get_legend_handles_labels()
        figure.legend(*arms, fontsize=8, loc="outside lower center", ncols=4)
    return figure


def parameters(counts: pd.DataFrame) -> Figure:
    """Draw the parameters of PNN and BERT, split into encoder, embedding and head.

    Parameters
    ----------
    counts : DataFrame
        Index: variant; columns ``untied``, ``tied``, ``encoder`` (numbers of parameters).

    Returns
    -------
    Figure
    """
    parts = pd.DataFrame(
        {
            "encoder": counts["encoder"],
            "embedding and head bias": counts["tied"] - counts["encoder"],
            "head matrix (untied)": counts["untied"] - counts["tied"],
        }
    )
    with style():
        figure, (axes,) = panels(1, width=7.5, height=1.2 + 0.5 * len(parts))
        left = pd.Series(0.0, index=parts.index)
        for colour, name in zip(("C0", "#b9b9b9", "#dddddd"), parts, strict=True):
            colour = PALETTE[0] if colour == "C0" else colour
            axes.barh([label(v) for v in parts.index], parts[name] / 1e6, left=left, color=colour)
            for row, (start, count) in enumerate(zip(left, parts[name] / 1e6, strict=True)):
                shown = f"{count:.1f}"
                axes.text(start + count / 2, row, shown, ha="center", va="center", fontsize=8)
            left += parts[name] / 1e6
        axes.set_xlabel("parameters (millions)")
        axes.invert_yaxis()
        axes.grid(visible=False)
        axes.legend(list(parts), ncols=3, fontsize=8, loc="upper left", bbox_to_anchor=(0, 1.25))
    return figure


def fresh_model(rows: pd.DataFrame) -> Figure:
    """Draw an untrained PNN: updates, gates, and what the norm does to a small layer.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_model`` with ``delta_rms``, ``gate_mean``, ``gate_std`` by step, and
        ``proposal_rms`` where step is the power of ten by which the layer was scaled down.

    Returns
    -------
    Figure
    """
    with style():
        figure, axes = panels(3, width=3.6)
        for index, variant in enumerate(("as_released", "as_paper")):
            own = rows.query("variant == @variant")
            colour, name = PALETTE[index], label(variant)
            delta = own.query("metric == 'delta_rms'").sort_values("step")
            axes[0].plot(delta["step"], delta["value"], "o-", color=colour, label=name)
            mean = own.query("metric == 'gate_mean'").sort_values("step")
            spread = own.query("metric == 'gate_std'").sort_values("step")
            x = mean["step"] + 0.12 * (index - 0.5)
            axes[1].errorbar(x, mean["value"], spread["value"], fmt="o", color=colour, label=name)
            scaled = own.query("metric == 'proposal_rms'").sort_values("step")
            axes[2].plot(10.0 ** -scaled["step"], scaled["value"], "o-", color=colour, label=name)
        axes[0].set(xlabel="refinement step", ylabel="root mean square", title="Size of the update")
        axes[0].set_ylim(bottom=-0.02)
        axes[1].set(xlabel="refinement step", ylabel="gate", title="Gate, mean ± spread")
        axes[1].set_ylim(0.4, 0.6)
        axes[2].set(xscale="log", yscale="log", xlabel="last layer scaled by")
        axes[2].set(ylabel="root mean square", title="Proposal after scaling")
        for one in axes:
            one.legend(fontsize=8)
        for one in axes[:2]:
            one.set_xticks(sorted(set(rows.query("metric == 'delta_rms'")["step"])))
    return figure


def architecture() -> Figure:
    """Draw BERT's stack of layers beside PNN's one refiner and its loop."""
    with style():
        figure, (axes,) = panels(1, width=9, height=4.4)
        axes.set(xlim=(0, 18), ylim=(0, 9))
        axes.axis("off")
        _draw_bert(axes)
        _draw_pnn(axes)
    return figure


def _box(axes, x, y, width, height, text, colour="#f3f3f3", size=9) -> None:
    shape = FancyBboxPatch(
        (x, y), width, height, boxstyle="round,pad=0.06", facecolor=colour, edgecolor="#555555"
    )
    axes.add_patch(shape)
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=size)


def _arrow(axes, start, end, bend: float = 0.0) -> None:
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=11,
            color="#333333",
            connectionstyle=f"arc3,rad={bend}",
            shrinkA=1,
            shrinkB=1,
        )
    )


def _draw_bert(axes) -> None:
    pale = (*PALETTE[1], 0.25)
    axes.text(2.2, 8.6, "BERT: a stack of different layers", ha="center", fontsize=10)
    _box(axes, 0.6, 0.4, 3.2, 0.7, "embeddings")
    for y, text in ((1.7, "layer 1"), (2.9, "layer 2"), (5.2, "layer 12")):
        _box(axes, 0.6, y, 3.2, 0.7, text, pale)
    axes.text(2.2, 4.4, "⋮", ha="center", va="center", fontsize=14)
    _box(axes, 0.6, 6.5, 3.2, 0.7, "head → tokens")
    for low, high in ((1.15, 1.65), (2.45, 2.85), (3.65, 4.1), (4.7, 5.15), (5.95, 6.45)):
        _arrow(axes, (2.2, low), (2.2, high))


def _draw_pnn(axes) -> None:
    pale, gate = (*PALETTE[0], 0.2), (*PALETTE[2], 0.25)
    axes.text(11.4, 8.6, "PNN: one refiner, applied again and again", ha="center", fontsize=10)
    _box(axes, 5.6, 0.4, 2.6, 0.7, "embeddings")
    _box(axes, 5.6, 4.0, 2.6, 0.9, "state $h$", pale)
    _box(axes, 5.6, 7.1, 2.6, 0.7, "head → tokens")
    _arrow(axes, (6.9, 1.15), (6.9, 3.95))
    _arrow(axes, (6.9, 4.95), (6.9, 7.05))
    axes.text(7.05, 6.0, "read after every step", fontsize=8, va="center")
    _box(axes, 9.6, 1.1, 3.1, 0.8, "self-attention\n+ norm", pale, 8)
    _box(axes, 13.5, 1.1, 3.1, 0.8, "feed-forward\n(+ norm as released)", pale, 8)
    _box(axes, 13.5, 4.0, 3.1, 0.9, "gate $σ(q·k/τ)$", gate, 9)
    _box(axes, 9.9, 4.0, 2.5, 0.9, "gate × proposal", gate, 9)
    _arrow(axes, (8.25, 4.1), (9.5, 1.9), 0.15)
    _arrow(axes, (12.75, 1.5), (13.4, 1.5))
    _arrow(axes, (15.0, 1.95), (15.0, 3.95))
    axes.text(15.15, 2.9, "proposal", fontsize=8, va="center")
    _arrow(axes, (13.4, 4.45), (12.5, 4.45))
    _arrow(axes, (9.8, 4.45), (8.3, 4.45))
    axes.text(9.05, 4.75, "$+$", fontsize=12, ha="center")
    _arrow(axes, (8.0, 4.95), (15.0, 4.95), -0.3)
    axes.text(11.5, 6.35, "query from the state, key from the proposal", fontsize=8, ha="center")
