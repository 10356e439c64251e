"""What the chapter on the learned optimiser says, made from the numbers."""

import pandas as pd

from plasticity.companion.statistics import summarise, values_by_seed
from plasticity.companion.tables import cell

MODELS = {
    ("pnn", "test"): "PNN",
    ("pnn", "random_refiner"): "PNN, its refiner not trained",
    ("bert_4_stepwise", "test"): "4-layer BERT with PNN's losses",
    ("bert_stepwise", "test"): "12-layer BERT with PNN's losses",
}
MEASURES = {
    "gradient_cosine": ("cosine with descent", "{:.3f}"),
    "exchanged_gradient_cosine": ("of another token's update", "{:.3f}"),
    "loss_change": ("change of loss, nats", "{:+.3f}"),
    "descent_loss_change": ("after as long a step downhill", "{:+.3f}"),
    "loss_falls_share": ("tokens whose loss falls, %", "{:.1f}"),
}


def steps(rows: pd.DataFrame) -> pd.DataFrame:
    """Set out each step of each model beside steepest descent.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_optimizer``.

    Returns
    -------
    DataFrame
        Texts, one row for each model and step: means with intervals over seeds.
    """
    found = summarise(rows).set_index(["variant", "split", "metric", "step"])
    lines = {}
    for (variant, split), name in MODELS.items():
        own = rows[(rows["variant"] == variant) & (rows["split"] == split)]
        for step in sorted(own.loc[own["metric"] == "loss_change", "step"].unique()):
            line = {}
            for metric, (title, form) in MEASURES.items():
                one = found.loc[(variant, split, metric, step)]
                line[title] = cell(one["mean"], one["low"], one["high"], form)
            lines[name, f"step {step}"] = line
    return pd.DataFrame.from_dict(lines, orient="index")


def optimizer(rows: pd.DataFrame) -> str:
    """Say in Markdown whether refinement resembles an optimiser.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``pnn_optimizer``.

    Returns
    -------
    str
        A list of sentences, failures included.
    """
    sentences = (_verdict(rows), _course(rows), _descent(rows), _untrained(rows), _peers(rows))
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _means(rows: pd.DataFrame, metric: str, variant: str = "pnn", split: str = "test") -> pd.Series:
    """Return the mean over seeds at each step."""
    own = rows[(rows["variant"] == variant) & (rows["split"] == split)]
    return own[own["metric"] == metric].groupby("step")["value"].mean()


def _verdict(rows: pd.DataFrame) -> str:
    held = values_by_seed(rows, "deltas_follow_negative_gradient", "pnn", "test", 0)
    follow = {1.0: "follow", 0.0: "do not follow"}.get(held.mean(), "do not always follow")
    return (
        f"By the rule set beforehand, PNN's updates **{follow} the negative gradient**: at every "
        "step the cosine is above that of another token's update and the loss falls, each with its "
        f"whole interval, in {int(held.sum())} of {len(held)} seeds."
    )


def _course(rows: pd.DataFrame) -> str:
    cosines, falls = _means(rows, "gradient_cosine"), _means(rows, "loss_falls_share")
    first, last = cosines.index[0], cosines.index[-1]
    return (
        f"The likeness fades: a cosine of {cosines[first]:.2f} at step {first} and "
        f"{cosines[last]:.2f} at step {last}, where the loss falls for {falls[last]:.0f} % of the "
        "tokens."
    )


def _descent(rows: pd.DataFrame) -> str:
    own, downhill = _means(rows, "loss_change"), _means(rows, "descent_loss_change")
    shares = 100 * own / downhill
    return (
        "An optimiser that saw the loss would do better: a step as long straight downhill lowers "
        f"it by {-downhill.iloc[0]:.2f} nats at first where PNN's lowers it by {-own.iloc[0]:.2f}, "
        f"and at the last step PNN's gains {shares.iloc[-1]:.0f} % of that."
    )


def _untrained(rows: pd.DataFrame) -> str:
    cosines = _means(rows, "gradient_cosine", split="random_refiner")
    change = _means(rows, "loss_change", split="random_refiner").sum()
    side = "raises" if change > 0 else "lowers"
    return (
        f"A refiner that was never trained, in the trained model, has cosines from "
        f"{cosines.min():.2f} to {cosines.max():.2f} and {side} the loss by {abs(change):.2f} nats "
        "in all."
    )


def _peers(rows: pd.DataFrame) -> str:
    own, parts, alike = _means(rows, "gradient_cosine"), [], []
    for variant in ("bert_4_stepwise", "bert_stepwise"):
        cosines = _means(rows, "gradient_cosine", variant)
        if len(cosines):
            held = values_by_seed(rows, "deltas_follow_negative_gradient", variant, "test", 0)
            alike.append(bool(held.all()))
            name = MODELS[variant, "test"]
            parts.append(f"{name}: {cosines.iloc[0]:.2f} to {cosines.iloc[-1]:.2f}")
    said = (
        "follow the negative gradient by the same rule in every seed, so recurrence is not needed "
        "for it"
        if alike and all(alike)
        else "do not all follow it by the same rule in every seed"
    )
    return (
        f"Layers with weights of their own, trained with losses at every readout, {said}: "
        f"{'; '.join(parts)}; PNN: {own.iloc[0]:.2f} to {own.iloc[-1]:.2f}. A model trained "
        "without those losses was not measured."
    )
