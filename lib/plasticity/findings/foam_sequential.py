"""What the chapter on skills in sequence says, made from the numbers."""

from collections.abc import Mapping

import pandas as pd

from plasticity.companion.statistics import (
    Interval,
    mean_interval,
    paired_difference,
    summarise,
    values_by_seed,
)
from plasticity.companion.tables import ABSENT, cell, interval_cell
from plasticity.experiments.foam_sequential import ORDER
from plasticity.experiments.foam_trial import ALL

LAST = len(ORDER)
ALIKE = "grow_only_alike"
POINTS = "{:+.1f}"
ARMS = {
    "full_fine_tuning": "full fine-tuning",
    "replay_20": "FT + 20 % replay",
    "ffn_only": "FFN only",
    "lora": "LoRA",
    "grow_only": "grow-only",
    ALIKE: "grow-only, at V3's rate",
    "grow_only_replay": "grow-only + replay",
    "v3": "V3 replacement",
    "v3_replay": "V3 + replay",
    "growth_freeze": "growth-freeze, newborns rest",
}
COLUMNS = {
    **{f"{skill}, at the end": ("skill_accuracy", skill, LAST, "{:.1f}") for skill in ORDER},
    "all skills": ("skill_accuracy", ALL, LAST, "{:.1f}"),
    "backward transfer": ("backward_transfer", ALL, LAST, POINTS),
    "facts kept": ("retention", "unreplayed", LAST, "{:.1f}"),
    f"{ORDER[0]}, just learnt": ("skill_accuracy", ORDER[0], 1, "{:.1f}"),
}


def measured(rows: pd.DataFrame) -> list[str]:
    """Return the arms that were measured, in the order of `ARMS`."""
    found = set(rows["variant"])
    return [arm for arm in ARMS if arm in found]


def table(rows: pd.DataFrame, rates: Mapping[str, float]) -> pd.DataFrame:
    """Set out what each arm can do at the end, and what it lost on the way.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``foam_sequential``.
    rates : mapping of str to float
        The learning rate of each variant.

    Returns
    -------
    DataFrame
        Texts, one row for each arm: percent, backward transfer in points.
    """
    found = summarise(rows).set_index(["variant", "metric", "split", "step"])
    lines = {}
    for arm in measured(rows):
        line = {"rate": f"{rates[arm]:g}"}
        for title, (metric, split, step, form) in COLUMNS.items():
            key = (arm, metric, split, step)
            line[title] = ABSENT
            if key in found.index:
                line[title] = cell(*found.loc[key, ["mean", "low", "high"]], form)
        neurons = _neurons(rows, arm)
        line["born"] = f"{neurons.get('born', 0):.0f}"
        line["retired"] = f"{neurons.get('replaced', 0):.0f}"
        lines[ARMS[arm]] = line
    return pd.DataFrame.from_dict(lines, orient="index")


def _neurons(rows: pd.DataFrame, arm: str) -> pd.Series:
    """Return how many neurons an arm bore and replaced in all skills, means over seeds."""
    own = rows[(rows["variant"] == arm) & (rows["metric"] == "neurons")]
    return own.groupby(["split", "seed"])["value"].sum().groupby("split").mean()


def sequence(rows: pd.DataFrame, rates: Mapping[str, float]) -> str:
    """Say in Markdown what was kept, failures included.

    Parameters
    ----------
    rows, rates
        As for `table`.

    Returns
    -------
    str
        A list of sentences.
    """
    only, single = (
        f"{said}{_unlike(rates, *pair)}"
        for said, pair in (
            (_only(rows, "grow_only"), ("grow_only", "v3")),
            (_single(rows), ("v3", "full_fine_tuning")),
        )
    )
    alike = f"{_only(rows, ALIKE)} This was not set beforehand." if ALIKE in measured(rows) else ""
    replacing = (single, _replacement(rows), _retired(rows))
    sentences = (_forgetting(rows), only, alike, *replacing, _best(rows))
    return "\n".join(f"- {sentence}" for sentence in sentences if sentence)


def _unlike(rates: Mapping[str, float], a: str, b: str) -> str:
    """Say that two arms learn at unlike rates, where they do: those are part of the difference."""
    if rates[a] == rates[b]:
        return ""
    return (
        f" But {ARMS[a]} learns at {rates[a]:g} and {ARMS[b]} at {rates[b]:g}, as the trials of "
        "all skills together chose: the difference is of the arms as tuned."
    )


def _interval(rows: pd.DataFrame, metric: str, arm: str, split: str, step: int) -> Interval:
    return mean_interval(values_by_seed(rows, metric, arm, split, step).to_numpy())


def _side(found: Interval, above: str, below: str, between: str) -> str:
    return above if found.low > 0 else below if found.high < 0 else between


def _forgetting(rows: pd.DataFrame) -> str:
    own = _interval(rows, "backward_transfer", "full_fine_tuning", ALL, LAST)
    kept = _interval(rows, "retention", "full_fine_tuning", "unreplayed", LAST)
    return (
        "After three skills in turn, full fine-tuning has changed the earlier two by "
        f"{interval_cell(own, POINTS)} points, and keeps {interval_cell(kept)} % of the facts."
    )


def _only(rows: pd.DataFrame, arm: str) -> str:
    parts = []
    for metric, split, name in (
        ("backward_transfer", ALL, "earlier skills"),
        ("retention", "unreplayed", "facts of the base"),
    ):
        found = paired_difference(rows, metric, arm, "v3", split, LAST)
        side = _side(found, "more", "less", "no more and no less")
        parts.append(f"{side} of the {name} ({interval_cell(found, POINTS)} points)")
    return f"Against V3, {ARMS[arm]} keeps {' and '.join(parts)}."


def _single(rows: pd.DataFrame) -> str:
    found = paired_difference(rows, "skill_accuracy", "v3", "full_fine_tuning", ORDER[0], 1)
    side = _side(found, "beats", "is beaten by", "neither beats nor is beaten by")
    return (
        f"In a single domain, the first skill alone, V3 {side} full fine-tuning: "
        f"{interval_cell(found, POINTS)} points."
    )


def _replacement(rows: pd.DataFrame) -> str:
    if ALIKE not in measured(rows):
        return ""
    found = paired_difference(rows, "skill_accuracy", "v3", ALIKE, ORDER[0], 1)
    return (
        "What replacement itself adds to that first skill, beside the same growth at the same rate "
        f"without it: {interval_cell(found, POINTS)} points."
    )


def _retired(rows: pd.DataFrame) -> str:
    totals = _neurons(rows, "v3")
    return (
        f"V3 retired {totals['replaced']:.1f} neurons for {totals['born']:.0f} newborns, as means "
        "over seeds: few neurons behind a SiLU are dormant."
    )


def _best(rows: pd.DataFrame) -> str:
    """Say which arm without old data comes nearest to both ends."""
    without = [arm for arm in measured(rows) if "replay" not in arm and arm != ALIKE]
    scores = {
        arm: (
            _interval(rows, "skill_accuracy", arm, ALL, LAST).mean,
            _interval(rows, "retention", arm, "unreplayed", LAST).mean,
        )
        for arm in without
    }
    skills, facts = (max(scores, key=lambda arm: scores[arm][n]) for n in (0, 1))
    return (
        f"Without old data, on average {ARMS[skills]} can do most at the end "
        f"({scores[skills][0]:.1f} % of the skills' items), and {ARMS[facts]} keeps most facts "
        f"({scores[facts][1]:.1f} %); by how much, the table says with its intervals. Some items "
        "ask for nothing new, and are answered by the base."
    )
