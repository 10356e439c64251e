"""What the chapter on the fair trial of growth says, made from the numbers."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from plasticity.companion.statistics import (
    Interval,
    hierarchical_interval,
    holm,
    mean_interval,
    paired_difference,
    paired_p_value,
    summarise,
    values_by_seed,
)
from plasticity.companion.tables import ABSENT, cell, interval_cell
from plasticity.experiments.foam_trial import ALL, BY_ITEM, ON_THE_WAY

SATURATED, LARGER, LONG = "_saturated", "_larger", "_long"
# Endings of variants: which base learns, and whether for twice as many steps.
BASES = {
    "": "unsaturated",
    SATURATED: "saturated",
    LARGER: "larger",
    LONG: "longer taught, unsaturated",
}
ALIKE = "_alike"  # of the springs alone, as strong as those with growth
POINTS = "{:+.1f}"

ARMS = {
    "base": ("base", "all weights"),
    "full_fine_tuning": ("full fine-tuning", "all weights"),
    "slow_fine_tuning": ("FT, a tenth of the rate", "all weights"),
    "replay_1": ("FT + 1 % replay", "all weights"),
    "replay_5": ("FT + 5 % replay", "all weights"),
    "replay_20": ("FT + 20 % replay", "all weights"),
    "joint": ("joint training", "all weights"),
    "curriculum": ("FT, easy to hard", "all weights"),
    "ffn_only": ("FFN only", "feed-forward blocks"),
    "ffn_replay": ("FFN + replay", "feed-forward blocks"),
    "lora": ("LoRA", "adapter"),
    "lora_replay": ("LoRA + replay", "adapter"),
    "lora_self": ("LoRA + self-made replay", "adapter"),
    "ewc": ("EWC", "held to the base"),
    "ewc_self": ("EWC from self-made texts", "held to the base"),
    "kl_to_base": ("KL to base", "held to the base"),
    "self_replay": ("self-made replay", "held to the base"),
    "growth": ("growth, all trained", "growth, base trained"),
    "growth_replay": ("growth + replay", "growth, base trained"),
    "growth_ffn": ("growth, FFN trained", "growth, base trained"),
    "growth_ewc_self": ("growth + EWC from self-made texts", "growth, base trained"),
    "reference_recipe": ("reference's recipe", "growth, base trained"),
    "v3": ("V3 replacement", "growth, base trained"),
    "growth_freeze": ("growth-freeze", "growth, base frozen"),
    "growth_freeze_replay": ("growth-freeze + replay", "growth, base frozen"),
    "growth_freeze_self": ("growth-freeze + self-made replay", "growth, base frozen"),
    "static_width": ("static width", "growth, base frozen"),
    "random_init": ("random start", "growth, base frozen"),
    "random_placement": ("random place", "growth, base frozen"),
}


class Contrast(NamedTuple):
    """A comparison set beforehand, of two arms that differ in one thing, at their own rates."""

    name: str
    a: str
    b: str
    asks: str


CONTRASTS = (
    Contrast("C1", "reference_recipe", "ffn_replay", "growth, given replay and freezing"),
    Contrast("C2", "replay_20", "full_fine_tuning", "replay"),
    Contrast("C3", "ffn_only", "full_fine_tuning", "freezing all but the FFN"),
    Contrast("C4", "growth_freeze", "lora", "growth against LoRA, as many parameters, no old data"),
    Contrast("C5", "growth_freeze", "static_width", "growing, or wide from the start"),
    Contrast("C6", "growth_freeze", "random_init", "GradMax, or a random start"),
    Contrast("C7", "v3", "reference_recipe", "replacement, or growth alone"),
)
CONTRASTED = tuple(dict.fromkeys(arm for own in CONTRASTS for arm in (own.a, own.b)))
# What is compared: name, metric, split, and where its items are.
OUTCOMES = {
    "acquired": ("skill_accuracy", ALL, ("tools", "identity", "autonomy")),
    "kept": ("accuracy", "unreplayed", ("unreplayed",)),
}
PAIR = ["contrast", "asks", "outcome", "a", "b"]
COMPARED = [*PAIR, "mean", "low", "high", "item_low", "item_high", "p"]
WAY = ("full_fine_tuning", "replay_20", "ffn_replay", "reference_recipe")
INGREDIENTS = ("replay", "freezing", "growth")
# The cells of growth x replay x freezing: what is in them, in the order of INGREDIENTS.
CELLS = {
    "full_fine_tuning": (0, 0, 0),
    "replay_20": (1, 0, 0),
    "ffn_only": (0, 1, 0),
    "ffn_replay": (1, 1, 0),
    "growth": (0, 0, 1),
    "growth_replay": (1, 0, 1),
    "growth_ffn": (0, 1, 1),
    "reference_recipe": (1, 1, 1),
}


EFFECTS = (
    "Mean effects over all combinations of the other two, of the seeds that all eight arms share, "
    "each arm as tuned: where rates differ, so may what they do."
)


def has(rows: pd.DataFrame, *variants: str) -> bool:
    """Tell whether all of some variants were measured."""
    return set(variants) <= set(rows["variant"].unique())


def scores(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows without those of single items, which are most of them: what is left is quick."""
    return rows[rows["metric"] != "item_accuracy"]


def bases(rows: pd.DataFrame) -> list[str]:
    """Return the endings of variants, one for each base on which a contrast was measured."""
    return [
        ending
        for ending in BASES
        if has(rows, f"full_fine_tuning{ending}")
        and any(has(rows, f"{c.a}{ending}", f"{c.b}{ending}") for c in CONTRASTS)
    ]


def interval(rows: pd.DataFrame, metric: str, variant: str, split: str) -> Interval:
    """Return a metric of a variant at the end, over seeds."""
    return mean_interval(values_by_seed(rows, metric, variant, split, 0).to_numpy())


# --- tables -----------------------------------------------------------------------------------

CAPABILITIES = {
    "facts never replayed": ("accuracy", "unreplayed"),
    "facts of the replayed half": ("accuracy", "replayed"),
    "stories, last word": ("accuracy", "stories"),
    "grammar, pairs": ("accuracy", "grammar"),
    "tool calls": ("skill_accuracy", "tools"),
    "identity": ("skill_accuracy", "identity"),
    "autonomous work": ("skill_accuracy", "autonomy"),
}


def asked(configs: Sequence) -> str:
    """Say how many test items each run asks; chapter 12 asks more of fewer arms.

    Parameters
    ----------
    configs : sequence of foam_trial.Config

    Returns
    -------
    str
    """
    most = max(configs, key=lambda config: config.test_items)
    return (
        f"Each run is asked {most.test_items} items of a skill and up to {most.probe_items} "
        "questions of each kind of old knowledge; for the skills alone, of fewer arms, the chapter "
        "before this one asks more. There, questions on identity that ask for something else are "
        "counted apart; here they are part of the skill, and the base answers many of them."
    )


def headline(rows: pd.DataFrame, ending: str = "") -> pd.DataFrame:
    """Set out the reference's table, with intervals: its recipe, the base and plain fine-tuning.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``foam_trial``.
    ending : str
        Of the variants on one base.

    Returns
    -------
    DataFrame
        Texts, one row for each capability, percent right.
    """
    base, recipe, plain = (f"{arm}{ending}" for arm in ("base", "reference_recipe", WAY[0]))
    lines = {}
    for name, (metric, split) in CAPABILITIES.items():
        change = paired_difference(rows, metric, recipe, base, split, 0)
        lines[name] = {
            "Neural Foam": interval_cell(interval(rows, metric, recipe, split)),
            "base": interval_cell(interval(rows, metric, base, split)),
            "delta": interval_cell(change, POINTS),
            "full fine-tuning": interval_cell(interval(rows, metric, plain, split)),
        }
    return pd.DataFrame.from_dict(lines, orient="index")


COLUMNS = {
    "acquired": ("skill_accuracy", ALL, "{:.1f}"),
    "kept, never replayed": ("retention", "unreplayed", "{:.1f}"),
    "kept, replayed half": ("retention", "replayed", "{:.1f}"),
    "stories": ("retention", "stories", "{:.1f}"),
    "grammar": ("retention", "grammar", "{:.1f}"),
    "loss on old text": ("loss", "old_texts", "{:.2f}"),
    "KL to base": ("divergence", "old_texts", "{:.3f}"),
}


def arms(rows: pd.DataFrame, rates: Mapping[str, float], ending: str = "") -> pd.DataFrame:
    """Set out every arm on one base: what it acquired, what it kept, in percent of the base.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``foam_trial``.
    rates : mapping of str to float
        The learning rate of each variant.
    ending : str
        Of the variants on one base.

    Returns
    -------
    DataFrame
        Texts, one row for each arm.
    """
    found = summarise(rows[rows["step"] == 0]).set_index(["variant", "metric", "split"])
    lines = {}
    for arm, (name, _) in ARMS.items():
        if not has(rows, f"{arm}{ending}"):
            continue
        line = {"rate": ABSENT if arm == "base" else f"{rates[f'{arm}{ending}']:g}"}
        for title, (metric, split, form) in COLUMNS.items():
            key = (f"{arm}{ending}", metric, split)
            line[title] = ABSENT
            if key in found.index:
                own = found.loc[key]
                line[title] = cell(own["mean"], own["low"], own["high"], form)
        lines[name] = line
    return pd.DataFrame.from_dict(lines, orient="index")


# --- contrasts --------------------------------------------------------------------------------


def _by_item(rows: pd.DataFrame, variant: str, splits: tuple[str, ...]) -> pd.DataFrame:
    """Return right or wrong by seed (rows) and item (columns), of splits one after another."""
    own = rows[(rows["variant"] == variant) & (rows["metric"] == "item_accuracy")]
    own = own[own["split"].isin([f"{BY_ITEM} {split}" for split in splits])]
    return own.pivot(index="seed", columns=["split", "step"], values="value")


def difference_by_item(rows: pd.DataFrame, a: str, b: str, splits: tuple[str, ...]) -> Interval:
    """Return the difference of two arms with its bootstrap interval over seeds and items.

    Each split weighs alike, whatever its number of items.
    """
    first, second = _by_item(rows, a, splits), _by_item(rows, b, splits)
    shared = first.index.intersection(second.index)
    change = first.loc[shared] - second.loc[shared]
    sizes = change.columns.get_level_values("split").value_counts()
    weights = [change.shape[1] / len(sizes) / sizes[s] for s, _ in change.columns]
    return hierarchical_interval(change.to_numpy() * weights)


def contrasts(rows: pd.DataFrame, ending: str = "", alike: bool = False) -> pd.DataFrame:
    """Work out the contrasts set beforehand, on one base.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``foam_trial``.
    ending : str
        Of the variants on one base.
    alike : bool
        Take the second arm of each contrast at the learning rate of the first, where that was
        measured (the variant ends in the contrast's name); this was not set beforehand.

    Returns
    -------
    DataFrame
        One row for each contrast and outcome: contrast, asks, outcome, a, b (variants), mean, low,
        high (Student's t, paired by seed), item_low, item_high (bootstrap over seeds and items),
        p, p_holm, corrected for the number of all rows, and settled: the interval over seeds leaves
        out 0 and p_holm is below 0.05.
    """
    lines, few = [], scores(rows)
    for contrast, (outcome, (metric, split, splits)) in itertools.product(
        CONTRASTS, OUTCOMES.items()
    ):
        a, b = f"{contrast.a}{ending}", f"{contrast.b}{ending}"
        b = f"{b}_{contrast.name}" if alike else b
        if not has(few, a, b):
            continue
        first = values_by_seed(few, metric, a, split, 0)
        each = (first - values_by_seed(few, metric, b, split, 0)).dropna().to_numpy()
        found = mean_interval(each)
        items = difference_by_item(rows, a, b, splits)
        lines.append(
            {
                "contrast": contrast.name,
                "asks": contrast.asks,
                "outcome": outcome,
                "a": a,
                "b": b,
                **{name: getattr(found, name) for name in ("mean", "low", "high")},
                "item_low": items.low,
                "item_high": items.high,
                "p": paired_p_value(each),
            }
        )
    table = pd.DataFrame(lines, columns=COMPARED)
    table = table.assign(p_holm=holm(table["p"]) if len(table) else [])
    beyond = table["low"].gt(0) | table["high"].lt(0)
    return table.assign(settled=beyond & table["p_holm"].lt(0.05))


def contrasts_said(
    rows: pd.DataFrame, rates: Mapping[str, float], ending: str = "", alike: bool = False
) -> pd.DataFrame:
    """Set out the contrasts as texts, in points of percent; parameters as for `arms`."""
    found = contrasts(rows, ending, alike)
    own = [[rates[a], rates[b]] for a, b in zip(found["a"], found["b"], strict=True)]
    answers = [
        "no" if not sure else "yes" if a == b else "yes, at unlike rates"
        for sure, (a, b) in zip(found["settled"], own, strict=True)
    ]
    return pd.DataFrame(
        {
            "contrast": found["contrast"] + ": " + found["asks"],
            "outcome": found["outcome"],
            "difference, by seed": [
                cell(*each, POINTS) for each in found[["mean", "low", "high"]].to_numpy()
            ],
            "by seed and item": [
                f"[{low:+.1f}, {high:+.1f}]"
                for low, high in found[["item_low", "item_high"]].to_numpy()
            ],
            "p, Holm": [
                ABSENT if np.isnan(p) else f"{p:.3f}" if p >= 0.001 else "< 0.001"
                for p in found["p_holm"]
            ],
            "rates": [f"{a:g}, {b:g}" for a, b in own],
            "settled": answers,
        }
    ).set_index("contrast")


# --- decomposition ----------------------------------------------------------------------------

MEASURES = {
    "new skills acquired": ("skill_accuracy", ALL),
    "facts never replayed, kept": ("retention", "unreplayed"),
}


def way(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the way from full fine-tuning to the whole recipe, one ingredient after another.

    Returns
    -------
    DataFrame
        Columns base, measure, name, mean, low, high: level, three changes, level.
    """
    lines = []
    for ending, (measure, (metric, split)) in itertools.product(bases(rows), MEASURES.items()):
        names = [f"{arm}{ending}" for arm in WAY]
        if not has(rows, *names):
            continue
        parts = [("full\nfine-tuning", interval(rows, metric, names[0], split))]
        for ingredient, (b, a) in zip(INGREDIENTS, itertools.pairwise(names), strict=True):
            parts.append((f"+ {ingredient}", paired_difference(rows, metric, a, b, split, 0)))
        parts.append(("whole\nrecipe", interval(rows, metric, names[-1], split)))
        lines += [
            [BASES[ending], measure, name, found.mean, found.low, found.high]
            for name, found in parts
        ]
    return pd.DataFrame(lines, columns=["base", "measure", "name", "mean", "low", "high"])


def main_effects(rows: pd.DataFrame, ending: str = "") -> pd.DataFrame:
    """Set out what each ingredient does on average over all combinations of the others.

    Returns
    -------
    DataFrame
        Texts, one row for each ingredient; empty where a cell of the eight was not measured.
    """
    cells = {f"{arm}{ending}": inside for arm, inside in CELLS.items()}
    if not has(rows, *cells):
        return pd.DataFrame()
    lines: dict[str, dict] = {name: {} for name in INGREDIENTS}
    for measure, (metric, split) in MEASURES.items():
        values = pd.DataFrame(
            {variant: values_by_seed(rows, metric, variant, split, 0) for variant in cells}
        ).dropna()
        for number, name in enumerate(INGREDIENTS):
            signs = [1 if inside[number] else -1 for inside in cells.values()]
            effect = (values * signs).sum(axis=1) / (len(cells) / 2)
            lines[name][measure] = interval_cell(mean_interval(effect.to_numpy()), POINTS)
    return pd.DataFrame.from_dict(lines, orient="index")


# --- for the figures --------------------------------------------------------------------------


def points(rows: pd.DataFrame, arms: Iterable[str] = tuple(ARMS)) -> pd.DataFrame:
    """Return acquisition and retention of some arms, or all, on every base, for the figure."""
    lines, rows = [], scores(rows)
    for ending, arm in itertools.product(bases(rows), arms):
        variant, (name, family) = f"{arm}{ending}", ARMS[arm]
        if arm == "base" or not has(rows, variant):
            continue
        x = interval(rows, "skill_accuracy", variant, ALL)
        y = interval(rows, "retention", variant, "unreplayed")
        lines.append([BASES[ending], name, family, x.mean, x.low, x.high, y.mean, y.low, y.high])
    names = ["acquisition", "retention"]
    columns = [f"{name}{end}" for name in names for end in ("", "_low", "_high")]
    return pd.DataFrame(lines, columns=["base", "arm", "family", *columns])


def titles(table: pd.DataFrame) -> dict[str, str]:
    """Return the title of each base in a table with a column base, in order."""
    return {name: f"{name.capitalize()} base" for name in table["base"].unique()}


SHOWN = ("full_fine_tuning", "replay_20", "ffn_only", "lora", "growth_freeze", "reference_recipe")


def course(rows: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, tuple[str, str]]]:
    """Return the summary of what was measured on the way, and the arms to draw."""
    splits = {f"{ON_THE_WAY} {ALL}": "skills", f"{ON_THE_WAY} unreplayed": "facts"}
    own = rows[rows["split"].isin(splits) & rows["variant"].isin(SHOWN)]
    labels = {arm: ARMS[arm] for arm in SHOWN if has(rows, arm)}
    return summarise(own.assign(split=own["split"].map(splits))), labels
