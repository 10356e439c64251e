"""What each arm of the trial costs, made from the numbers."""

import numpy as np
import pandas as pd

from plasticity.companion.statistics import mean_interval, summarise, values_by_seed
from plasticity.companion.tables import ABSENT, cell, interval_cell
from plasticity.experiments.foam_trial import ALL, ON_THE_WAY
from plasticity.findings.foam_trial import ARMS, WAY, has, scores

ENOUGH = 0.95  # of what full fine-tuning acquires
COUNTS = {  # the same for all seeds, or nearly
    "trained": ("parameters", "trained"),
    "added": ("parameters", "added"),
    "new-task tokens": ("tokens", "new_task"),
}
MILLISECONDS = {"ms a step": ("step_seconds", "train"), "ms of events": ("seconds", "events")}


def costs(rows: pd.DataFrame, speed: pd.DataFrame, ending: str = "") -> pd.DataFrame:
    """Set out what every arm costs on one base: parameters, tokens, time, memory.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``foam_trial``.
    speed : DataFrame
        Tidy rows of ``foam_speed``, for the memory, which is shown of the base that it was measured
        on; may be empty.
    ending : str
        Of the variants on one base.

    Returns
    -------
    DataFrame
        Texts, one row for each arm that learns.
    """
    rows = scores(rows)
    found = summarise(rows[rows["step"] == 0]).set_index(["variant", "metric", "split"])
    peaks = speed[speed["metric"] == "peak_bytes"].groupby("split")["value"].mean()
    lines = {}
    for arm, (name, _) in ARMS.items():
        variant = f"{arm}{ending}"
        if arm == "base" or not has(rows, variant):
            continue
        line = dict.fromkeys([*COUNTS, *MILLISECONDS], ABSENT)
        for title, key in (COUNTS | MILLISECONDS).items():
            if (variant, *key) not in found.index:
                continue
            mean, low, high = found.loc[(variant, *key), ["mean", "low", "high"]]
            if title in COUNTS:
                line[title] = f"{mean:,.0f}"
            else:
                line[title] = cell(1000 * mean, 1000 * low, 1000 * high, "{:.1f}")
        line["tokens to 95 %"] = _until_enough(rows, variant, f"{WAY[0]}{ending}")
        line["mean on the way, %"] = interval_cell(mean_interval(_mean_course(rows, variant)))
        if not ending:  # the base on which it was measured
            peak = peaks.get(f"memory/{arm}", np.nan)
            line["peak memory, MB"] = ABSENT if np.isnan(peak) else f"{peak / 1e6:.0f}"
        lines[name] = line
    return pd.DataFrame.from_dict(lines, orient="index")


def exact_answers(rows: pd.DataFrame, variant: str) -> pd.DataFrame:
    """Return the validation answers that are exact while an arm learns, seeds by steps, percent."""
    chosen = (rows["variant"] == variant) & (rows["metric"] == "exact_answers")
    own = rows[chosen & (rows["split"] == f"{ON_THE_WAY} {ALL}")]
    return own.pivot(index="seed", columns="step", values="value").sort_index(axis=1)


def tokens_until(rows: pd.DataFrame, variant: str, target: float) -> pd.Series:
    """Return after how many tokens, new and old, an arm first has so many exact answers.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``foam_trial``.
    variant : str
    target : float
        Exact answers on validation data, percent.

    Returns
    -------
    Series
        One number of tokens for each seed, on straight lines between the points of the curve; nan
        where the target was never reached.
    """
    course = exact_answers(rows, variant)
    steps = course.columns.to_numpy(float)
    tokens = values_by_seed(rows, "tokens", variant, "train", 0)
    found = {}
    for seed, curve in course.iterrows():
        reached = np.flatnonzero(curve.to_numpy() >= target)
        found[seed] = np.nan
        if len(reached):
            near = slice(max(0, reached[0] - 1), reached[0] + 1)
            at = np.interp(target, curve.to_numpy()[near], steps[near])
            found[seed] = at * tokens[seed] / steps[-1]
    return pd.Series(found, dtype=float)


def _mean_course(rows: pd.DataFrame, variant: str) -> np.ndarray:
    """Return each seed's mean exact answers on the way: the area under the curve, by its length."""
    course = exact_answers(rows, variant)
    steps = course.columns.to_numpy(float)
    return np.trapezoid(course.to_numpy(), steps, axis=1) / (steps[-1] - steps[0])


def _until_enough(rows: pd.DataFrame, variant: str, plain: str) -> str:
    """Say when the median seed has 95 % of plain fine-tuning's last answers, and how many do."""
    target = ENOUGH * exact_answers(rows, plain).iloc[:, -1].mean()
    tokens = tokens_until(rows, variant, target)
    median = tokens.fillna(np.inf).median()  # a seed that never gets there comes last
    by = f"by {tokens.notna().sum()} of {len(tokens)} seeds"
    return f"{median:,.0f}, {by}" if np.isfinite(median) else by
