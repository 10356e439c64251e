"""Figures of the sentences: tidy rows of ``substrate_sentences`` in, a Figure out."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from plasticity.plots.style import PALETTE, panels, style

LABELS = {
    "cold_start": "cold start",
    "flat": "reward alone",
    "curriculum": "curriculum",
    "binding": "sentence bound",
    "curriculum_binding": "curriculum,\nsentence bound",
    "curriculum_replay_binding": "curriculum, replay,\nsentence bound",
    "sentence_id": "coincidence\nbound",
}
COLOURS = dict(zip(LABELS, ["#999999", *PALETTE], strict=False))
SOURCE_COLOUR = "black"


def story(summary: pd.DataFrame, source: Mapping[str, float]) -> Figure:
    """Draw how many words each arm gets right at the end.

    Parameters
    ----------
    summary : DataFrame
        From `statistics.summarise`, with ``routing_accuracy`` (the sentence given where it is
        bound) and ``accuracy`` (the sentence guessed from the prompt), percent.
    source : mapping of str to float
        The source's own figures, percent, by variant.

    Returns
    -------
    Figure
        One bar an arm with its 95% interval; a dot for the guessed sentence, a line for the source.
    """
    given = _at_end(summary, "routing_accuracy")
    guessed = _at_end(summary, "accuracy")
    shown = [variant for variant in LABELS if variant in given.index]
    tried = summary[summary["metric"] == "curve_accuracy"].groupby("variant")["step"].max()
    with style():
        figure, (axes,) = panels(1, width=10, height=3.9)
        for place, variant in enumerate(shown):
            found = given.loc[variant]
            _bar(axes, place, found, COLOURS[variant])
            if variant in source:
                ends = (place - 0.38, place + 0.38)
                label = "the source's figure" if variant == next(iter(source)) else None
                axes.plot(ends, [source[variant]] * 2, color=SOURCE_COLOUR, lw=2, label=label)
            if "bind" in variant or variant == "sentence_id":
                own = guessed.loc[variant]
                label = "sentence guessed from the prompt" if variant == "sentence_id" else None
                axes.plot(place + 0.2, own["mean"], "o", color="white", ms=7, zorder=3)
                axes.plot(
                    place + 0.2, own["mean"], "o", color="#222222", ms=5, zorder=4, label=label
                )
        names = [f"{LABELS[variant]}\n{tried[variant]:,} tried" for variant in shown]
        axes.set_xticks(range(len(shown)), names, fontsize=9)
        axes.set(ylim=(0, 112), ylabel="words right (%)")
        axes.grid(axis="x", visible=False)
        axes.legend(loc="upper left", fontsize=9)
    return figure


def curves(rows: pd.DataFrame) -> Figure:
    """Draw how the words come to be right, episode by episode.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows with ``curve_accuracy`` (percent) by episodes.

    Returns
    -------
    Figure
        A thin line for each seed and a thick one for their mean: without binding on the left,
        with it on the right.
    """
    found = rows[rows["metric"] == "curve_accuracy"]
    sides = {
        "The sentence is not named": ("flat", "curriculum"),
        "The sentence is named": (
            "binding",
            "curriculum_binding",
            "curriculum_replay_binding",
            "sentence_id",
        ),
    }
    with style():
        figure, both = panels(2, width=5.2, height=3.6)
        for axes, (title, variants) in zip(both, sides.items(), strict=True):
            for variant in variants:
                own = found[found["variant"] == variant]
                for _, line in own.groupby("seed"):
                    line = line.sort_values("step")
                    axes.plot(
                        line["step"], line["value"], color=COLOURS[variant], lw=0.6, alpha=0.45
                    )
                mean = own.groupby("step")["value"].mean()
                name = LABELS[variant].replace("\n", " ")
                axes.plot(mean.index, mean, color=COLOURS[variant], lw=2.2, label=name)
            axes.set(ylim=(0, 104), xlabel="sentences tried", title=title)
            axes.legend(fontsize=8, loc="lower right" if "not" not in title else "upper left")
        both[0].set_ylabel("words right (%)")
        both[1].tick_params(labelleft=False)
    return figure


def evidence(rows: pd.DataFrame, prompts: Sequence[str]) -> Figure:
    """Draw how strongly each prompt activates each sentence.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows with ``id_evidence``: split ``prompt i``, step the sentence.
    prompts : sequence of str

    Returns
    -------
    Figure
        A heat map; its diagonal is the prompt's own sentence.
    """
    own = rows[rows["metric"] == "id_evidence"]
    own = own[(own["seed"] == own["seed"].min()) & (own["variant"] == own["variant"].iloc[-1])]
    own = own.assign(prompt=own["split"].str.removeprefix("prompt ").astype(int))
    table = own.pivot_table(index="prompt", columns="step", values="value").to_numpy()
    with style():
        figure, (axes,) = panels(1, width=6.6, height=4.9)
        image = axes.imshow(table, cmap="viridis", vmin=0, vmax=3)
        axes.set_yticks(range(len(prompts)), prompts, fontsize=8)
        axes.set_xticks(range(0, len(prompts), 2), [str(i + 1) for i in range(0, len(prompts), 2)])
        axes.set(xlabel="sentence neuron", ylabel="prompt")
        axes.grid(visible=False)
        bar = figure.colorbar(image, ticks=range(4), shrink=0.8)
        bar.set_label("activation: words shared, in their place")
    return figure


def negatives(rows: pd.DataFrame) -> Figure:
    """Draw what credit by plateau and sparse groups change, seed by seed.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows with ``routing_accuracy`` of the variants ``plateau_credit`` and
        ``group_sparsity``.

    Returns
    -------
    Figure
        Three panels with one line a seed from the plain way to the other, and the means.
    """
    pairs = (
        ("Paid for each word", ("paid each word, own step", "paid each word, plateau")),
        ("Paid once, at the end", ("paid at the end, own step", "paid at the end, plateau")),
        ("Words of a class", ("all may fire", "few may fire")),
    )
    names = (("own step", "plateau"), ("own step", "plateau"), ("all may fire", "few may fire"))
    found = rows[rows["metric"] == "routing_accuracy"]
    with style():
        figure, three = panels(3, width=3.3, height=3.2)
        for axes, (title, splits), ticks in zip(three, pairs, names, strict=True):
            both = [
                found[found["split"] == split].set_index("seed")["value"].sort_index()
                for split in splits
            ]
            for start, end in zip(*both, strict=True):
                axes.plot([0, 1], [start, end], "-", color="#aaaaaa", lw=0.9)
            for place, values in enumerate(both):
                axes.plot([place] * len(values), values, "o", color=PALETTE[place], ms=4, alpha=0.7)
                axes.plot(place, values.mean(), "_", color=PALETTE[place], ms=34, mew=3)
                side = {"ha": "right" if place == 0 else "left", "va": "center", "fontsize": 10}
                axes.text(
                    place + (0.22 if place else -0.22),
                    values.mean(),
                    f"{values.mean():.0f}",
                    **side,
                )
            axes.set_xticks([0, 1], ticks)
            axes.set(xlim=(-0.6, 1.6), ylim=(0, 104), title=title)
            axes.grid(axis="x", visible=False)
        three[0].set_ylabel("words right (%)")
        for axes in three[1:]:
            axes.tick_params(labelleft=False)
    return figure


def thousand(rows: pd.DataFrame, summary: pd.DataFrame) -> Figure:
    """Draw recognition, its calibration, recall and free generation of real sentences.

    Parameters
    ----------
    rows, summary : DataFrame
        Tidy rows of the variant ``thousand``, and their summary.

    Returns
    -------
    Figure
        Three panels: confidence against accuracy, what is right of names and words, and how many
        word triples occur in other text.
    """
    own = summary[(summary["variant"] == "thousand") & (summary["step"] == 0)]
    own = own.set_index(["metric", "split"])
    with style():
        figure, (first, second, third) = panels(3, width=4.0, height=3.6)
        _reliability(first, rows[rows["split"] == "bins"])
        bars = {
            "sentence\nof a clear\nprompt": ("sentence_id_accuracy", "unambiguous", PALETTE[0]),
            "sentence\nof a shared\nprompt": ("sentence_id_accuracy", "ambiguous", PALETTE[9]),
            "words,\nsentence\nin mind": ("accuracy", "in mind", PALETTE[2]),
            "words,\nnothing\nin mind": ("accuracy", "not in mind", PALETTE[7]),
        }
        _bars(second, own, bars)
        second.set_ylim(0, 130)
        best = own.loc[("best_possible_accuracy", "ambiguous")]["mean"]
        second.plot([0.6, 1.4], [best, best], color="black", lw=2, label="the best possible")
        second.legend(fontsize=8, loc="upper right")
        second.set(ylabel="right (%)", title="Recognised and said again")
        bars = {
            "said by\nthe brain": ("attested_share", "free", PALETTE[0]),
            "the real\nsentences": ("attested_share", "real", PALETTE[1]),
            "the real ones,\nshuffled": ("attested_share", "shuffled", PALETTE[7]),
        }
        _bars(third, own, bars)
        third.margins(y=0.15)
        third.set(
            ylabel="triples found in other text (%)", title="Continued freely", ylim=(0, None)
        )
    return figure


def _reliability(axes, bins: pd.DataFrame) -> None:
    """Draw accuracy against confidence, one dot a bin, as large as what fell into it."""
    table = bins.pivot_table(index=["seed", "step"], columns="metric", values="value")
    weight = table["prompts"]
    parts = {
        name: (table[name] * weight).groupby("step").sum() / weight.groupby("step").sum()
        for name in ("confidence", "guess_accuracy")
    }
    total = weight.groupby("step").sum()
    axes.plot([0, 100], [0, 100], color="#999999", lw=1, ls="--")
    sizes = 20 + 380 * np.sqrt(total / total.max())
    axes.scatter(
        parts["confidence"],
        parts["guess_accuracy"],
        s=sizes,
        color=PALETTE[0],
        alpha=0.75,
        zorder=3,
    )
    axes.set(xlim=(-4, 108), ylim=(-4, 108), title="How sure, and how right")
    axes.set(xlabel="confidence in the sentence (%)", ylabel="guesses right (%)")


def _bars(axes, own: pd.DataFrame, bars: Mapping[str, tuple[str, str, object]]) -> None:
    for place, (metric, split, colour) in enumerate(bars.values()):
        _bar(axes, place, own.loc[(metric, split)], colour)
    axes.set_xticks(range(len(bars)), list(bars), fontsize=8)
    axes.grid(axis="x", visible=False)


def _bar(axes, place: int, found: pd.Series, colour) -> None:
    """Draw a mean with its interval and, above both, its number."""
    axes.bar(place, found["mean"], color=colour, width=0.62, alpha=0.85)
    low, high = np.clip([found["low"], found["high"]], 0, 100)  # a share lies between
    if np.isfinite(low):
        axes.plot([place, place], [low, high], color="#333333", lw=1.6)
    top = np.nanmax([found["mean"], high])
    digits = 1 if 99 <= found["mean"] < 100 else 0
    axes.text(place, top + 1.5, f"{found['mean']:.{digits}f}", ha="center", va="bottom")


def _at_end(summary: pd.DataFrame, metric: str) -> pd.DataFrame:
    chosen = (summary["metric"] == metric) & (summary["split"] == "twenty")
    return summary[chosen & (summary["step"] == 0)].set_index("variant")
