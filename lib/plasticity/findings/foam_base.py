"""What the chapter on the bases of the trial says, made from the numbers."""

import pandas as pd

from plasticity.companion.statistics import values_by_seed
from plasticity.companion.tables import cell

KINDS = {
    "replayed": ("facts of the first half", 25),
    "unreplayed": ("facts of the second half", 25),
    "stories": ("end of a story", 25),
    "grammar": ("agreement of the verb", 50),
}
CEILING = 99.0  # percent; above it a probe cannot show a small loss
WELL_KNOWN = 80.0  # percent that a base must reach for forgetting to be measured


def _value(rows: pd.DataFrame, variant: str, metric: str, split: str) -> float:
    return values_by_seed(rows, metric, variant, split, 0).mean()


def _loss(rows: pd.DataFrame, variant: str) -> float:
    return _value(rows, variant, "loss", "held_out")


def _bases(rows: pd.DataFrame) -> list[str]:
    return list(dict.fromkeys(rows["variant"]))


def scores(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the accuracies of each base with intervals over items.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``foam_base``.

    Returns
    -------
    DataFrame
        Columns variant, split, mean, low, high, in percent; means over seeds, where there are
        several.
    """
    names = {"accuracy": "mean", "accuracy_low": "low", "accuracy_high": "high"}
    own = rows[rows["metric"].isin(names) & (rows["step"] == 0)]
    table = own.pivot_table(index=["variant", "split"], columns="metric", values="value")
    return table.rename(columns=names).reset_index()


def capacity(rows: pd.DataFrame) -> pd.DataFrame:
    """Return facts told, facts known beyond guessing and parameters, one row a base."""
    lines = [
        {
            "variant": variant,
            "facts": _value(rows, variant, "facts", "world"),
            "known": _value(rows, variant, "facts_known", "world"),
            "parameters": _value(rows, variant, "parameters", "model"),
            "bits": _value(rows, variant, "bits_per_parameter", "world"),
        }
        for variant in _bases(rows)
    ]
    return pd.DataFrame(lines)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Set out what each base knows.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``foam_base``.

    Returns
    -------
    DataFrame
        Texts, one row a base.
    """
    found = scores(rows).set_index(["variant", "split"])
    lines = {}
    for own in capacity(rows).itertuples():
        line = {
            f"{name}, %": cell(*found.loc[(own.variant, kind), ["mean", "low", "high"]])
            for kind, (name, _) in KINDS.items()
        }
        line["loss, nats a token"] = f"{_loss(rows, own.variant):.3f}"
        line["parameters"] = f"{own.parameters:,.0f}"
        line["facts known"] = f"{own.known:,.0f} of {own.facts:,.0f}"
        line["bits a parameter"] = f"{own.bits:.3f}"
        lines[own.variant] = line
    return pd.DataFrame.from_dict(lines, orient="index")


def base(rows: pd.DataFrame) -> str:
    """Say in Markdown what the bases know, and what their probes can show.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``foam_base``, of one training run or more of each base.

    Returns
    -------
    str
        A list of sentences, failures included.
    """
    sentences = [sentence for name in _bases(rows) for sentence in _knows(rows, name)]
    sentences += _compared(rows)
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _knows(rows: pd.DataFrame, variant: str) -> list[str]:
    """Say how well a base knows, and which probes are at their ceiling."""
    right = {kind: _value(rows, variant, "accuracy", kind) for kind in KINDS}
    facts = _value(rows, variant, "accuracy", "facts")
    enough = "enough" if facts >= WELL_KNOWN else "less than the share set beforehand"
    told = (
        f"The **{variant}** base gives the right value of {facts:.1f} % of its facts, where "
        f"guessing gives {KINDS['replayed'][1]} %: {enough} to see forgetting "
        f"({WELL_KNOWN:.0f} % was asked for)."
    )
    full = [KINDS[kind][0] for kind, value in right.items() if value >= CEILING]
    if not full:
        return [f"{told} None of its probes is at the ceiling."]
    return [
        f"{told} At the ceiling ({CEILING:.0f} % or more), so that they show a loss only once it "
        f"is large: {', '.join(full)}."
    ]


def _compared(rows: pd.DataFrame) -> list[str]:
    """Say how full the saturated base is, beside one that was told more and a larger one."""
    found = capacity(rows).set_index("variant")
    sentences = []
    if {"unsaturated", "saturated"} <= set(found.index):
        first, second = found.loc["unsaturated"], found.loc["saturated"]
        sentences.append(
            f"In as many weights, the saturated base was told {second['facts']:,.0f} facts instead "
            f"of {first['facts']:,.0f} and knows {second['known']:,.0f} in place of "
            f"{first['known']:,.0f}: {second['bits']:.3f} bits in a parameter, not "
            f"{first['bits']:.3f}."
        )
    if {"overfull", "saturated"} <= set(found.index):
        second, third = found.loc["saturated"], found.loc["overfull"]
        told, known = (100 * (third[name] / second[name] - 1) for name in ("facts", "known"))
        side = "more" if known > 0 else "fewer"
        full = (
            "so the saturated base is **converged rather than full**: more would fit"
            if known > 0
            else "so in this much reading the saturated base is full"
        )
        sentences.append(
            f"Told {told:.0f} % more facts in as many tokens, a model of that size knows "
            f"{abs(known):.0f} % {side}, {third['known']:,.0f} of {third['facts']:,.0f}; {full}."
        )
    if {"larger", "saturated"} <= set(found.index):
        second, third = found.loc["saturated"], found.loc["larger"]
        sentences.append(
            f"The larger base has {third['parameters'] / second['parameters']:.1f} times the "
            f"weights of the saturated one, was told {third['facts']:,.0f} facts and knows "
            f"{third['known']:,.0f}: {third['bits']:.3f} bits in a parameter, so it has room where "
            f"the other has less. Its loss on held-out text is {_loss(rows, 'larger'):.3f} nats a "
            f"token, the other's {_loss(rows, 'saturated'):.3f}."
        )
    return sentences
