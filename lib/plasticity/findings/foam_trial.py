"""What the chapter on the fair trial of growth says, made from the numbers."""

import itertools
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

SATURATED, LONG = "_saturated", "_long"
# Endings of variants: which base learns, and whether for twice as many steps.
BASES = {"": "unsaturated", SATURATED: "saturated", LONG: "longer taught, unsaturated"}
MARGIN = 2.0  # points that an arm may lose and still retain, set beforehand
SHARE = 95.0  # percent of full fine-tuning's acquisition that growth-freeze is to reach
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
    "kl_to_base": ("KL to base", "held to the base"),
    "self_replay": ("self-made replay", "held to the base"),
    "growth": ("growth, all trained", "growth, base trained"),
    "growth_replay": ("growth + replay", "growth, base trained"),
    "growth_ffn": ("growth, FFN trained", "growth, base trained"),
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
# What is compared: name, metric, split, and where its items are.
OUTCOMES = {
    "acquired": ("skill_accuracy", ALL, ("tools", "identity", "autonomy")),
    "kept": ("accuracy", "unreplayed", ("unreplayed",)),
}
COMPARED = ["contrast", "asks", "outcome", "mean", "low", "high", "item_low", "item_high", "p"]
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


def _has(rows: pd.DataFrame, *variants: str) -> bool:
    return set(variants) <= set(rows["variant"].unique())


def bases(rows: pd.DataFrame) -> list[str]:
    """Return the endings of variants, one for each base on which a contrast was measured."""
    return [
        ending
        for ending in BASES
        if _has(rows, f"full_fine_tuning{ending}")
        and any(_has(rows, f"{c.a}{ending}", f"{c.b}{ending}") for c in CONTRASTS)
    ]


def _interval(rows: pd.DataFrame, metric: str, variant: str, split: str) -> Interval:
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
            "Neural Foam": interval_cell(_interval(rows, metric, recipe, split)),
            "base": interval_cell(_interval(rows, metric, base, split)),
            "delta": interval_cell(change, POINTS),
            "full fine-tuning": interval_cell(_interval(rows, metric, plain, split)),
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
    "trained": ("parameters", "trained", "{:,.0f}"),
    "added": ("parameters", "added", "{:,.0f}"),
    "new-task tokens": ("tokens", "new_task", "{:,.0f}"),
    "ms a step": ("step_seconds", "train", "{:.4f}"),
}


def arms(rows: pd.DataFrame, ending: str = "") -> pd.DataFrame:
    """Set out every arm on one base: what it acquired, what it kept, in percent of the base.

    Returns
    -------
    DataFrame
        Texts, one row for each arm.
    """
    found = summarise(rows[rows["step"] == 0]).set_index(["variant", "metric", "split"])
    lines = {}
    for arm, (name, _) in ARMS.items():
        if not _has(rows, f"{arm}{ending}"):
            continue
        line = {}
        for title, (metric, split, form) in COLUMNS.items():
            key = (f"{arm}{ending}", metric, split)
            scale = 1000 if title.startswith("ms") else 1
            form = "{:.1f}" if scale > 1 else form
            line[title] = ABSENT
            if key in found.index:
                own = found.loc[key]
                line[title] = cell(*(scale * own[n] for n in ("mean", "low", "high")), form)
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


def contrasts(rows: pd.DataFrame, ending: str = "") -> pd.DataFrame:
    """Work out the contrasts set beforehand, on one base.

    Returns
    -------
    DataFrame
        One row for each contrast and outcome: contrast, asks, outcome, mean, low, high (Student's
        t, paired by seed), item_low, item_high (bootstrap over seeds and items), p, and p_holm,
        corrected for the number of all rows.
    """
    lines = []
    for contrast, (outcome, (metric, split, splits)) in itertools.product(
        CONTRASTS, OUTCOMES.items()
    ):
        a, b = f"{contrast.a}{ending}", f"{contrast.b}{ending}"
        if not _has(rows, a, b):
            continue
        first = values_by_seed(rows, metric, a, split, 0)
        each = (first - values_by_seed(rows, metric, b, split, 0)).dropna().to_numpy()
        found = mean_interval(each)
        items = difference_by_item(rows, a, b, splits)
        lines.append(
            {
                "contrast": contrast.name,
                "asks": contrast.asks,
                "outcome": outcome,
                **{name: getattr(found, name) for name in ("mean", "low", "high")},
                "item_low": items.low,
                "item_high": items.high,
                "p": paired_p_value(each),
            }
        )
    table = pd.DataFrame(lines, columns=COMPARED)
    return table.assign(p_holm=holm(table["p"]) if len(table) else [])


def contrasts_said(rows: pd.DataFrame, ending: str = "") -> pd.DataFrame:
    """Set out the contrasts as texts, in points of percent."""
    found = contrasts(rows, ending)
    both = found["low"].gt(0) | found["high"].lt(0)
    settled = both & found["p_holm"].lt(0.05)
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
            "settled": settled.map({True: "yes", False: "no"}),
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
        if not _has(rows, *names):
            continue
        parts = [("full\nfine-tuning", _interval(rows, metric, names[0], split))]
        for ingredient, (b, a) in zip(INGREDIENTS, itertools.pairwise(names), strict=True):
            parts.append((f"+ {ingredient}", paired_difference(rows, metric, a, b, split, 0)))
        parts.append(("whole\nrecipe", _interval(rows, metric, names[-1], split)))
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
    if not _has(rows, *cells):
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


def points(rows: pd.DataFrame) -> pd.DataFrame:
    """Return acquisition and retention of every arm on every base, for the figure."""
    lines = []
    for ending, (arm, (name, family)) in itertools.product(bases(rows), ARMS.items()):
        variant = f"{arm}{ending}"
        if arm == "base" or not _has(rows, variant):
            continue
        x = _interval(rows, "skill_accuracy", variant, ALL)
        y = _interval(rows, "retention", variant, "unreplayed")
        lines.append([BASES[ending], name, family, x.mean, x.low, x.high, y.mean, y.low, y.high])
    names = ["acquisition", "retention"]
    columns = [f"{name}{end}" for name in names for end in ("", "_low", "_high")]
    return pd.DataFrame(lines, columns=["base", "arm", "family", *columns])


SHOWN = ("full_fine_tuning", "replay_20", "ffn_only", "lora", "growth_freeze", "reference_recipe")


def course(rows: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, tuple[str, str]]]:
    """Return the summary of what was measured on the way, and the arms to draw."""
    splits = {f"{ON_THE_WAY} {ALL}": "skills", f"{ON_THE_WAY} unreplayed": "facts"}
    own = rows[rows["split"].isin(splits) & rows["variant"].isin(SHOWN)]
    labels = {arm: ARMS[arm] for arm in SHOWN if _has(rows, arm)}
    return summarise(own.assign(split=own["split"].map(splits))), labels


# --- sentences --------------------------------------------------------------------------------


def verdict(rows: pd.DataFrame) -> str:
    """Say in Markdown what the trial found, failures included."""
    sentences = []
    for ending in bases(rows):
        sentences += [_decomposed(rows, ending), _share(rows, ending), *_goal(rows, ending)]
        sentences += [_kept(rows, ending)]
    sentences.append(_jumps(rows))
    return "\n".join(f"- {sentence}" for sentence in sentences if sentence)


def _decomposed(rows: pd.DataFrame, ending: str) -> str:
    found = way(rows)
    found = found[(found["base"] == BASES[ending]) & found["measure"].str.contains("kept")]
    if found.empty:
        return ""
    level, *changes, whole = found["mean"]
    parts = ", ".join(
        f"{change:+.1f} by {name}" for change, name in zip(changes, INGREDIENTS, strict=True)
    )
    return (
        f"**{BASES[ending].capitalize()} base.** Full fine-tuning keeps {level:.1f} % of the facts "
        f"that nobody replays, the reference's whole recipe {whole:.1f} %. The difference is made "
        f"up of {parts} (points)."
    )


def _share(rows: pd.DataFrame, ending: str) -> str:
    found = contrasts(rows, ending)
    own = found[found["contrast"] == "C1"].set_index("outcome")
    if own.empty:
        return ""
    kept, acquired = own.loc["kept"], own.loc["acquired"]
    bounds = ["mean", "low", "high"]
    answer = "is not shown to help or to harm what is kept"
    if kept["low"] > 0 or kept["high"] < 0:
        answer = "helps to keep facts" if kept["low"] > 0 else "costs facts"
    return (
        f"Growth itself, given replay and freezing (C1), {answer}: "
        f"{cell(*kept[bounds], POINTS)} points of facts, {cell(*acquired[bounds], POINTS)} points "
        "of skills."
    )


def _goal(rows: pd.DataFrame, ending: str) -> list[str]:
    said = []
    for grown, lora in (("growth_freeze", "lora"), ("growth_freeze_self", "lora_self")):
        names = [f"{arm}{ending}" for arm in (grown, WAY[0], lora)]
        if _has(rows, *names):
            said += _reached(rows, *names, ARMS[grown][0], ARMS[lora][0])
    return said


def _reached(rows: pd.DataFrame, grown: str, plain: str, lora: str, *names: str) -> list[str]:
    own, full = (values_by_seed(rows, "skill_accuracy", arm, ALL, 0) for arm in (grown, plain))
    share = mean_interval((100 * own / full).dropna().to_numpy())
    if share.low >= SHARE:
        reached = "reaches"
    elif share.mean >= SHARE:
        reached = "on average, though not beyond doubt, reaches"
    else:
        reached = "does not reach"
    change = paired_difference(rows, "accuracy", grown, lora, "unreplayed", 0)
    more = "more than" if change.low > 0 else "less than" if change.high < 0 else "no more than"
    sides = [_interval(rows, "retention", arm, "unreplayed").mean for arm in (grown, lora)]
    return [
        f"Without old data, {names[0]} acquires {interval_cell(share)} % of what full fine-tuning "
        f"does and so {reached} the {SHARE:.0f} % set as the goal.",
        f"It keeps {more} {names[1]}, of as many parameters: {sides[0]:.1f} % of the base's facts "
        f"against {sides[1]:.1f} %, a difference of {interval_cell(change, POINTS)} points.",
    ]


def _kept(rows: pd.DataFrame, ending: str) -> str:
    """Say which arms lose no more than the margin set beforehand, and which cannot be judged."""
    base, kept, unjudged = f"base{ending}", [], []
    for arm, (name, _) in ARMS.items():
        variant = f"{arm}{ending}"
        if arm == "base" or not _has(rows, variant, base):
            continue
        change = paired_difference(rows, "accuracy", variant, base, "unreplayed", 0)
        if np.isnan(change.low):
            unjudged.append(name)
        elif change.low > -MARGIN:
            kept.append(name)
    who = ", ".join(kept) if kept else "no arm"
    rest = f" Not judged, for want of seeds: {', '.join(unjudged)}." if unjudged else ""
    return (
        f"By the margin set beforehand (the whole interval above -{MARGIN:.0f} points), the facts "
        f"that nobody replays are retained by: {who}.{rest}"
    )


def _jumps(rows: pd.DataFrame) -> str:
    jumps = rows[rows["metric"] == "loss_jump"]
    v3 = jumps["variant"].str.startswith("v3")
    largest = jumps.loc[~v3, "value"].abs().max()
    if pd.isna(largest):
        return ""
    size = "exactly 0" if largest == 0 else f"at most {largest:.1g} nats"
    return f"A growth event without retirement changes the loss by {size} ({(~v3).sum()} events)."
