"""Which setting of each arm was chosen for the trial, made from the numbers of all trials."""

import pandas as pd

from plasticity.experiments.foam_trial import ALL
from plasticity.findings.foam_trial import ARMS, BASES, SATURATED

WITHIN = 2.0  # points of an arm's best acquisition that the gentlest setting may lack


def trials(rows: pd.DataFrame) -> pd.DataFrame:
    """Return every trial of ``foam_tuning``, and which of them the rule chooses.

    The rule looks at acquisition on validation data alone, never at what is kept: of the trials
    within `WITHIN` points of the arm's best, the lowest learning rate, or the strongest penalty.

    Returns
    -------
    DataFrame
        Columns variant, base, arm (name), family, trial, value, acquisition, retention, chosen;
        means over seeds.
    """
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
    table["base"] = [BASES[_ending(variant)] for variant in table["variant"]]
    arm = [variant.removesuffix(SATURATED) for variant in table["variant"]]
    table["arm"], table["family"] = ([ARMS[a][n] for a in arm] for n in (0, 1))
    table["chosen"] = False
    strengths = set(rows.loc[rows["metric"] == "penalty_strength", "variant"])
    for variant, own in table.groupby("variant", sort=False):
        good = own[own["acquisition"] >= own["acquisition"].max() - WITHIN]
        gentle = good["value"].idxmax() if variant in strengths else good["value"].idxmin()
        table.loc[gentle, "chosen"] = True
    return table


def _ending(variant: str) -> str:
    return SATURATED if variant.endswith(SATURATED) else ""
