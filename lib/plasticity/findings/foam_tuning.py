"""Which setting of each arm was chosen for the trial, made from the numbers of all trials."""

from collections.abc import Sequence

import pandas as pd

from plasticity.experiments.foam_trial import ALL
from plasticity.findings.foam_trial import ARMS, BASES, LARGER, SATURATED

IDENTITY = ["variant", "base", "arm", "family", "trial", "value", "seeds"]
OUTCOMES = ["acquisition", "retention", "chosen"]
WITHIN = 2.0  # points of an arm's best acquisition that the gentlest setting may lack


def trials(rows: pd.DataFrame) -> pd.DataFrame:
    """Return every trial of ``foam_tuning``, and which of them the rule chooses.

    The rule looks at acquisition on validation data alone, never at what is kept: of the trials
    within `WITHIN` points of the arm's best, the lowest learning rate, or the strongest penalty.

    Returns
    -------
    DataFrame
        Columns variant, base, arm (name), family, trial, value, seeds (how many), acquisition,
        retention, chosen; means over seeds.
    """
    if rows.empty:
        return pd.DataFrame(columns=[*IDENTITY, *OUTCOMES])
    wanted = {
        "acquisition": (ALL, ("exact_answers",)),
        "retention": ("unreplayed", ("fact_accuracy",)),
        "value": ("tried", ("learning_rate", "penalty_strength")),
    }
    parts = {}
    for name, (split, metrics) in wanted.items():
        own = rows[(rows["split"] == split) & rows["metric"].isin(metrics)]
        parts[name] = own.groupby(["variant", "step"], sort=False)["value"].mean()
    table = pd.DataFrame(parts).rename_axis(["variant", "trial"]).reset_index()
    table["seeds"] = table["variant"].map(rows.groupby("variant")["seed"].nunique())
    table["base"] = [BASES[_ending(variant)] for variant in table["variant"]]
    arm = [variant.removesuffix(_ending(variant)) for variant in table["variant"]]
    table["arm"], table["family"] = ([ARMS[a][n] for a in arm] for n in (0, 1))
    table["chosen"] = False
    strengths = set(rows.loc[rows["metric"] == "penalty_strength", "variant"])
    for variant, own in table.groupby("variant", sort=False):
        good = own[own["acquisition"] >= own["acquisition"].max() - WITHIN]
        gentle = good["value"].idxmax() if variant in strengths else good["value"].idxmin()
        table.loc[gentle, "chosen"] = True
    return table


def chosen(found: pd.DataFrame, configs: Sequence) -> str:
    """Say in Markdown which settings were chosen, and for which arms none was tried yet.

    Parameters
    ----------
    found : DataFrame
        As `trials` returns it.
    configs : sequence of foam_trial.Config
        Of the trial that takes the settings over.

    Returns
    -------
    str
        A list of sentences.
    """
    best = found[found["chosen"]]
    counts = found.groupby("variant")["trial"].count()
    names = [f"{own.arm} ({own.base} base): {own.value:g}" for own in best.itertuples()]
    number = str(counts.min()) if counts.nunique() == 1 else f"{counts.min()} to {counts.max()}"
    arms = {config.arm for config in configs}
    missing = sorted(ARMS[a][0] for a in arms - set(best["variant"]) if a in ARMS and a != "base")
    sentences = [f"Chosen, from {number} trials of each arm: {'; '.join(names)}."]
    sentences.append(f"Seeds of each trial: {_seeds(best)}.")
    if missing:
        sentences.append(
            "No trials of their own are stored yet of these, which take the setting of the arm "
            f"that they are most like: {', '.join(missing)}."
        )
    for ending in (SATURATED, LARGER):
        untried = _untried(best, configs, ending)
        if untried:
            sentences.append(
                f"On the {BASES[ending]} base these have no trials of their own, and learn with "
                f"what was chosen on the first: {', '.join(untried)}."
            )
    ends = _at_an_end(found)
    if ends:
        sentences.append(
            "A setting at an end of its trials may have a better one beyond it. Chosen was "
            f"{'; '.join(ends)}."
        )
    sentences += [_better(found, base) for base in best["base"].unique()]
    return "\n".join(f"- {sentence}" for sentence in sentences if sentence)


def _seeds(best: pd.DataFrame) -> str:
    """Say which arms of each base have how many seeds of trials."""
    return "; ".join(
        f"on the {base} base {seeds} for {', '.join(own['arm'])}"
        for (base, seeds), own in best.groupby(["base", "seeds"], sort=False)
    )


def _untried(best: pd.DataFrame, configs: Sequence, ending: str) -> list[str]:
    """Return the names of arms that take to another base what was chosen on the first."""
    there = {c.arm for c in configs if c.base == BASES[ending]}
    tried = {v.removesuffix(ending) for v in best["variant"] if v.endswith(ending)}
    return sorted(ARMS[arm][0] for arm in (there & set(best["variant"])) - tried)


def _at_an_end(found: pd.DataFrame) -> list[str]:
    """Return the arms whose chosen setting is their lowest or highest trial."""
    parts = []
    for end, extreme in (("lowest", "min"), ("highest", "max")):
        limit = found.groupby("variant")["value"].transform(extreme)
        own = found[found["chosen"] & (found["value"] == limit)]
        names = [f"{line.arm} ({line.base} base)" for line in own.itertuples()]
        parts += [f"the {end}: {', '.join(names)}"] if names else []
    return parts


def _better(found: pd.DataFrame, base: str, growth: str = "growth_freeze") -> str:
    """Say how many trials of other arms are behind a trial of growth-freeze in both measures."""
    both = ["acquisition", "retention"]
    of_base = found[found["base"] == base]
    grown = of_base[of_base["arm"] == ARMS[growth][0]][both].to_numpy()
    if not len(grown):
        return ""
    parts = []
    for arm, own in of_base[of_base["arm"] != ARMS[growth][0]].groupby("arm", sort=False):
        behind = sum((grown >= point).all(axis=1).any() for point in own[both].to_numpy())
        parts.append(f"{behind} of {len(own)} of {arm}")
    return (
        f"On the {base} base a trial of {ARMS[growth][0]} is at least as good in both measures as "
        f"{', '.join(parts)}."
    )


def _ending(variant: str) -> str:
    return next((ending for ending in BASES if ending and variant.endswith(ending)), "")
