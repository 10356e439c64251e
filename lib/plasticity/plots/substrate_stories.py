"""Figures of the chapters on stories: summaries in, a Figure out."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from plasticity.plots.style import PALETTE, panels, style

GRAPH, PEER, SOURCE = PALETTE[0], "#777777", "black"


def bars(
    summary: pd.DataFrame,
    labels: Mapping[str, str],
    split: str,
    source: Mapping[str, float] | None = None,
    peers: Sequence[str] = (),
    logarithmic: bool = False,
) -> Figure:
    """Draw the perplexity of some arms, the first on top.

    Parameters
    ----------
    summary : DataFrame
        From `statistics.summarise`, with ``perplexity``.
    labels : mapping of str to str
        Names to show for the variants, in order; those without rows are left out.
    split : str
        What was scored.
    source : mapping of str to float, optional
        The source's own figures by variant, drawn as lines.
    peers : sequence of str
        Variants drawn in grey.
    logarithmic : bool
        Whether the axis is.

    Returns
    -------
    Figure
    """
    own = summary[(summary["metric"] == "perplexity") & (summary["split"] == split)]
    found = own.set_index("variant")
    shown = [variant for variant in labels if variant in found.index]
    with style():
        figure, (axes,) = panels(1, width=8.5, height=0.6 + 0.42 * len(shown))
        for place, variant in enumerate(shown):
            line = found.loc[variant]
            axes.barh(place, line["mean"], color=PEER if variant in peers else GRAPH, height=0.62)
            if np.isfinite(line["low"]):
                axes.plot([line["low"], line["high"]], [place] * 2, color="#222222", lw=1.5)
            axes.annotate(
                f"{line['mean']:,.1f}",
                (max(line["mean"], line["high"] if np.isfinite(line["high"]) else 0), place),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
            )
            if source and variant in source:
                label = "the source's figure" if variant == next(iter(source)) else None
                ends = (place - 0.42, place + 0.42)
                axes.plot([source[variant]] * 2, ends, color=SOURCE, lw=2, label=label)
        axes.set_yticks(range(len(shown)), [labels[variant] for variant in shown])
        axes.invert_yaxis()
        axes.set(xlabel="perplexity" + (", logarithmic" if logarithmic else ""))
        if logarithmic:
            axes.set_xscale("log")
        axes.margins(x=0.12)
        axes.grid(axis="y", visible=False)
        if source:
            axes.legend(loc="lower right", fontsize=9)
    return figure


def scaling(summary: pd.DataFrame, models: Mapping[str, Sequence[str]]) -> Figure:
    """Draw perplexity, training time and size against the number of training words.

    Parameters
    ----------
    summary : DataFrame
        From `statistics.summarise`.
    models : mapping of str to sequence of str
        Variants of each curve, named; the first curve is the graph's.

    Returns
    -------
    Figure
    """
    found = summary.set_index(["variant", "metric", "split"])["mean"].sort_index()
    known = set(summary["variant"])
    with style():
        figure, axes = panels(3, width=3.7, height=3.3)
        for (name, variants), colour in zip(models.items(), (GRAPH, PEER), strict=False):
            shown = [variant for variant in variants if variant in known]
            shown.sort(key=lambda variant: found[variant, "tokens", "train"])
            tokens = [found[v, "tokens", "train"] for v in shown]
            seconds = [
                sum(
                    found.get((v, metric, "train"), 0)
                    for metric in ("build_seconds", "learning_seconds")
                )
                for v in shown
            ]
            look = {"color": colour, "marker": "o", "label": name}
            axes[0].plot(tokens, [found[v, "perplexity", "validation"] for v in shown], **look)
            axes[1].plot(tokens, seconds, **look)
            if ("megabytes", "train") in {key[1:] for key in found.index if key[0] in shown}:
                axes[2].plot(tokens, [found[v, "megabytes", "train"] for v in shown], **look)
        for ax, label in zip(axes, ("perplexity", "seconds to train", "megabytes"), strict=True):
            ax.set(xscale="log", yscale="log", xlabel="words to train on", ylabel=label)
        axes[0].legend(fontsize=9)
    return figure
