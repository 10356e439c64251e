"""What the chapter on ARC says, made from the numbers."""

import numpy as np
import pandas as pd

from plasticity.companion import models as weights
from plasticity.companion.statistics import Interval, hierarchical_interval
from plasticity.companion.tables import cell, interval_cell
from plasticity.experiments.foam_arc import (
    ALL,
    BASE,
    SETS,
    SOURCE,
    SOURCE_ITEMS,
    source_figures,
    unpaired_change,
)

TITLES = {"arc_easy": "ARC-Easy", "arc_challenge": "ARC-Challenge"}
ARMS = {
    "full_fine_tuning": ("full fine-tuning", "all weights"),
    "ffn_replay": ("FFN + replay of ARC", "feed-forward blocks"),
    "ffn_replay_other": ("FFN + replay of other text", "feed-forward blocks"),
    "lora": ("LoRA, no old data", "adapter"),
    "growth_freeze": ("growth-freeze, no old data", "growth, base frozen"),
    "reference_recipe": ("growth + replay of ARC", "growth, base trained"),
    "growth_replay_other": ("growth + replay of other text", "growth, base trained"),
}
# As is the custom with lm-evaluation-harness: accuracy of the first, acc_norm of the other.
QUOTED = {"arc_easy": "", "arc_challenge": "_norm"}
MEASURES = {"": "accuracy", "_norm": "acc_norm"}
# What others publish of a model in its own precision, percent, by the harness, zero-shot: here
# from the model card of lldois/SmolLM2-135M-Reasoning-SLERP-Champion.
PUBLISHED = {"smollm2_135m_instruct": {"arc_easy": 54.12, "arc_challenge": 27.73}}
POINTS = "{:+.1f}"
RESAMPLES = 2000


def measured(rows: pd.DataFrame) -> list[str]:
    """Return the arms that were measured, in the order in which they are shown."""
    return [variant for variant in ARMS if variant in set(rows["variant"])]


def _items(rows: pd.DataFrame, variant: str, split: str, suffix: str) -> pd.DataFrame:
    """Return percent right by seed and item."""
    wanted = rows["metric"].eq(f"item_correct{suffix}") & rows["variant"].eq(variant)
    return rows[wanted & rows["split"].eq(split)].pivot(
        index="seed", columns="step", values="value"
    )


def _interval(values: np.ndarray) -> Interval:
    return hierarchical_interval(values, resamples=RESAMPLES)


def accuracy(rows: pd.DataFrame, variant: str, split: str, suffix: str = "") -> Interval:
    """Return percent right with an interval over seeds and items."""
    return _interval(_items(rows, variant, split, suffix).to_numpy())


def change(rows: pd.DataFrame, variant: str, split: str, suffix: str = "") -> Interval:
    """Return an arm less the base, paired by item, in points; over seeds and items.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``foam_arc``.
    variant : str
    split : {"arc_easy", "arc_challenge"}
    suffix : {"", "_norm"}
        Accuracy, or that by characters.

    Returns
    -------
    Interval
        Over the items that both were asked.
    """
    own, base = (_items(rows, name, split, suffix) for name in (variant, BASE))
    shared = own.columns.intersection(base.columns)
    return _interval(own[shared].to_numpy() - base[shared].to_numpy()[:1])


def _one(rows: pd.DataFrame, variant: str, split: str, metric: str) -> float:
    """Return a measurement's mean over seeds."""
    wanted = rows["variant"].eq(variant) & rows["split"].eq(split) & rows["metric"].eq(metric)
    return float(rows.loc[wanted, "value"].mean())


def unseen(accuracy_percent: float, items: int = SOURCE_ITEMS) -> float:
    """Return the half-width of the interval of a difference of two such accuracies, unpaired.

    Examples
    --------
    >>> round(unseen(77.5), 1)
    8.2
    """
    return unpaired_change(accuracy_percent, accuracy_percent, items).high


def changes(rows: pd.DataFrame) -> pd.DataFrame:
    """Return what `plots.foam_arc.changes` draws: each arm's change of each test set."""
    lines, figures = [], source_figures()
    for split in SETS:
        base = _one(rows, BASE, split, f"accuracy{QUOTED[split]}")
        before, after = figures[split]
        for variant in measured(rows):
            arm, family = ARMS[variant]
            found = change(rows, variant, split, QUOTED[split])
            bounds = (found.mean, found.low, found.high)
            lines.append((arm, family, split, *bounds, after - before, unseen(base)))
    names = ["arm", "family", "split", "mean", "low", "high", "source", "unseen"]
    return pd.DataFrame(lines, columns=names)


def skills(rows: pd.DataFrame) -> pd.DataFrame:
    """Return each arm's share of right answers over the three skills, for the figure."""
    lines = [(*ARMS[v], _one(rows, v, ALL, "skill_accuracy")) for v in measured(rows)]
    table = pd.DataFrame(lines, columns=["arm", "family", "mean"])
    return table.assign(base=_one(rows, BASE, ALL, "skill_accuracy"))


def base_table(rows: pd.DataFrame, model: str) -> pd.DataFrame:
    """Return the base's accuracies with intervals over items, and what others publish.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``foam_arc``.
    model : str
        Which model they are of.
    """
    lines = {}
    for split in SETS:
        line = {"items": f"{_one(rows, BASE, split, 'rows'):,.0f}"}
        for suffix, name in MEASURES.items():
            found = accuracy(rows, BASE, split, suffix)
            line[f"{name}, %"] = interval_cell(found)
        if model in PUBLISHED:
            figure = PUBLISHED[model][split]
            line["published, not quantised"] = f"{figure:.1f} ({MEASURES[QUOTED[split]]})"
        lines[TITLES[split]] = line
    return pd.DataFrame.from_dict(lines, orient="index")


def arms(rows: pd.DataFrame) -> pd.DataFrame:
    """Set out what every arm loses of ARC.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``foam_arc``.

    Returns
    -------
    DataFrame
        Texts; changes are points beside the base with 95 % intervals over seeds and items.
    """
    lines = {}
    for variant in measured(rows):
        line = {}
        for split in SETS:
            for suffix, name in MEASURES.items():
                found = change(rows, variant, split, suffix)
                line[f"{TITLES[split]} {name}"] = interval_cell(found, POINTS)
        line["seeds"] = f"{len(_seeds(rows, variant))}"
        lines[ARMS[variant][0]] = line
    return pd.DataFrame.from_dict(lines, orient="index")


def gains_and_costs(rows: pd.DataFrame) -> pd.DataFrame:
    """Set out what every arm learns, and what that costs; parameters as for `arms`.

    Returns
    -------
    DataFrame
        Texts. Minutes are of the seeds that every arm has, which shared one machine; the peak is
        the lowest of an arm's seeds, since some were measured in processes that had held another
        arm before.
    """
    lines = {}
    shared = set.intersection(*(_seeds(rows, variant) for variant in measured(rows)))
    timed = rows[rows["seed"].isin(shared)]
    for variant in measured(rows):
        line = {
            f"{skill}, %": f"{_one(rows, variant, skill, 'skill_accuracy'):.0f}"
            for skill in ("tools", "identity", "autonomy")
        }
        line["trained, millions"] = f"{_one(rows, variant, 'trained', 'parameters') / 1e6:.1f}"
        line["minutes"] = f"{_one(timed, variant, 'train', 'seconds') / 60:.1f}"
        peaks = rows[rows["variant"].eq(variant) & rows["metric"].eq("peak_bytes")]["value"]
        line["peak, GB, at most"] = f"{peaks.min() / 1e9:.1f}"
        lines[ARMS[variant][0]] = line
    return pd.DataFrame.from_dict(lines, orient="index")


def _seeds(rows: pd.DataFrame, variant: str) -> set[int]:
    return set(rows.loc[rows["variant"].eq(variant), "seed"])


def about_base(rows: pd.DataFrame, model: str) -> str:
    """Say in Markdown what the weights are, and where the base stands; as in `base_table`."""
    types = rows[rows["variant"].eq(BASE) & rows["metric"].eq("parameter_share")]
    shares = types.groupby("split")["value"].mean().sort_values(ascending=False)
    named = ", ".join(f"{share:.1f} % {kind}" for kind, share in shares.items())
    quantised = (
        f"The weights are **quantised and dequantised again**: {named} by the file's own types. "
        "Published figures are of the weights as they were, so that a difference may be the "
        "quantisation's."
        if named
        else "The weights are not quantised."
    )
    if model not in PUBLISHED:
        return f"- {quantised}"
    sides = []
    for split, figure in PUBLISHED[model].items():
        found = accuracy(rows, BASE, split, QUOTED[split])
        where = "inside" if found.low <= figure <= found.high else "outside"
        sides.append(f"{TITLES[split]}'s is {where} our interval")
    return f"- {quantised}\n- Of the published figures, {' and '.join(sides)}."


def not_measured(model: str) -> str:
    """Say in Markdown that nothing was measured here, and how to measure it.

    Parameters
    ----------
    model : str
        A key of ``data/models.yaml``.
    """
    said = "Nothing was measured here: set `arc` to `True` (`plasticity run 15 -p arc True`). "
    try:
        found = weights.provenance(model)
    except weights.ModelUnavailable as missing:
        return f"{said}First, {missing}"
    return f"{said}The weights of {found['title']} are at hand ({found['source']})."


def verdict(rows: pd.DataFrame) -> str:
    """Say in Markdown what the arms lose and learn, failures included."""
    if not measured(rows):
        return "No arm has been measured."
    sentences = [_resolution(rows), _losses(rows), _growth(rows), _frozen(rows), _learnt(rows)]
    return "\n".join(f"- {sentence}" for sentence in sentences if sentence)


def source(rows: pd.DataFrame) -> str:
    """Say in Markdown what the source's own figures can show."""
    parts = []
    for split, (before, after) in source_figures().items():
        wanted = rows["variant"].eq(SOURCE) & rows["split"].eq(split)
        found = rows[wanted].groupby("metric")["value"].first()
        bounds = (found[f"accuracy_change{end}"] for end in ("", "_low", "_high"))
        parts.append(f"{TITLES[split]} {before} to {after}: {cell(*bounds, POINTS)} points")
    return (
        f"All its figures are multiples of half a percent, as {SOURCE_ITEMS} items give. Unpaired, "
        f"that means {'; '.join(parts)}: intervals that hold 0."
        if all(_includes_zero(rows, split) for split in SETS)
        else f"At {SOURCE_ITEMS} items: {'; '.join(parts)}."
    )


def _includes_zero(rows: pd.DataFrame, split: str) -> bool:
    low, high = (_one(rows, SOURCE, split, f"accuracy_change{end}") for end in ("_low", "_high"))
    return low <= 0 <= high


def _said(variant: str, rows: pd.DataFrame, split: str) -> str:
    found = change(rows, variant, split, QUOTED[split])
    return f"{ARMS[variant][0]} {interval_cell(found, POINTS)}"


def _resolution(rows: pd.DataFrame) -> str:
    variant = measured(rows)[0]
    count = len(_items(rows, variant, SETS[0], "").columns)
    found = change(rows, variant, SETS[0])
    seeds = rows.loc[rows["variant"].eq(variant), "seed"].nunique()
    base = _one(rows, BASE, SETS[0], "accuracy")
    return (
        f"Paired with the base on {count} items of ARC-Easy, {seeds} seed{'s' * (seeds > 1)}, an "
        f"arm's change is known to about ±{(found.high - found.low) / 2:.1f} points; "
        f"{SOURCE_ITEMS} unpaired items would leave ±{unseen(base):.1f}."
    )


def _losses(rows: pd.DataFrame) -> str:
    lost, none = [], []
    for variant in measured(rows):
        worst = [change(rows, variant, split, QUOTED[split]).high < 0 for split in SETS]
        (lost if any(worst) else none).append(variant)
    parts = []
    if lost:
        each = (_said(v, rows, SETS[0]) for v in lost)
        parts.append(f"Lower than the base beyond chance on one set at least: {'; '.join(each)}")
    if none:
        names = ", ".join(ARMS[v][0] for v in none)
        parts.append(f"no loss beyond chance on either set: {names}")
    return "; ".join(parts) + " (points of ARC-Easy)." * bool(lost) + "." * (not lost)


def _pair(rows: pd.DataFrame, a: str, b: str, split: str) -> Interval | None:
    if not {a, b} <= set(measured(rows)):
        return None
    first, second = (_items(rows, name, split, QUOTED[split]) for name in (a, b))
    seeds = first.index.intersection(second.index)
    return _interval(first.loc[seeds].to_numpy() - second.loc[seeds].to_numpy())


def _growth(rows: pd.DataFrame) -> str:
    return _between(rows, "reference_recipe", "ffn_replay", "What growth adds, replay and frozen "
                    "attention given")  # fmt: skip


def _frozen(rows: pd.DataFrame) -> str:
    return _between(rows, "growth_freeze", "lora", "Growth-freeze beside LoRA, both without old "
                    "data")  # fmt: skip


def _between(rows: pd.DataFrame, a: str, b: str, what: str) -> str:
    parts, settled = [], False
    for split in SETS:
        found = _pair(rows, a, b, split)
        if found is None:
            return ""
        parts.append(f"{TITLES[split]} {interval_cell(found, POINTS)}")
        settled |= found.low > 0 or found.high < 0
    end = "" if settled else ": not settled by so many items"
    return f"{what}: {', '.join(parts)} points{end}."


def _learnt(rows: pd.DataFrame) -> str:
    learnt = {v: _one(rows, v, ALL, "skill_accuracy") for v in measured(rows)}
    best, worst = max(learnt, key=learnt.get), min(learnt, key=learnt.get)
    base = _one(rows, BASE, ALL, "skill_accuracy")
    tokens = np.mean([_one(rows, v, "train", "tokens") for v in learnt])
    return (
        f"Skills, in so short a training ({tokens:,.0f} tokens): from {learnt[worst]:.0f} % "
        f"({ARMS[worst][0]}) to {learnt[best]:.0f} % ({ARMS[best][0]}); the base has {base:.0f} %. "
        "An arm that learns nothing loses nothing: read both sides of the figure together."
    )


def harness(rows: pd.DataFrame) -> str:
    """Say in Markdown on how many items lm-evaluation-harness gives the same answer."""
    if rows.empty:
        return "lm-evaluation-harness has not been run beside this scoring."
    parts = []
    for split in SETS:
        found = rows[rows["split"].eq(split)].groupby("metric")["value"].first()
        parts.append(
            f"{found['agreeing_items']:.0f} and {found['agreeing_items_norm']:.0f} of "
            f"{found['rows']:.0f} items of {TITLES[split]}"
        )
    return (
        "Beside lm-evaluation-harness itself, on the same weights: the same verdict (accuracy and "
        f"acc_norm) on {'; '.join(parts)}."
    )
