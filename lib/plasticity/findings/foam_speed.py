"""What the measurements of growth's cost say, made from the numbers."""

import numpy as np
import pandas as pd

from plasticity.companion.statistics import bootstrap_interval
from plasticity.companion.tables import interval_cell

# What is measured: split, metric, form, goal (at most).
GOALS = {
    "wrapped, not grown: time of a pass, of the plain": (
        "pass/wrapped", "time_ratio", "{:.3f}", 1.02),
    "2 % more neurons: time of a pass, of the plain": ("pass/grown", "time_ratio", "{:.3f}", 1.05),
    "2 % more, born by tens: time of a pass, of the plain": (
        "pass/grown_by_events", "time_ratio", "{:.3f}", 1.05),
    "an event, seconds": ("event", "event_seconds", "{:.2f}", 2.0),
    "events, % of the time of training": ("event", "amortised_share", "{:.2f}", 1.0),
    "resumed training: tensors that differ": ("promise", "resume_differences", "{:.0f}", 0.0),
    "two processes: tensors that differ": ("promise", "process_differences", "{:.0f}", 0.0),
    "reserved room: compilations by events": ("promise", "recompilations", "{:.0f}", 0.0),
    "merged, saved, loaded: change of a logit": ("promise", "reload_difference", "{:.1e}", 1e-5),
}  # fmt: skip


def goals(rows: pd.DataFrame) -> pd.DataFrame:
    """Set every measurement beside its goal.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows of ``foam_speed``, of one variant.

    Returns
    -------
    DataFrame
        Texts, one row for each goal: medians over the repeats, with a 95% bootstrap interval where
        there are several.
    """
    lines = {}
    for name, (split, metric, form, goal) in GOALS.items():
        own = rows[(rows["split"] == split) & (rows["metric"] == metric)]["value"]
        found = bootstrap_interval(own, statistic=np.median)
        lines[name] = {
            "measured": interval_cell(found, form),
            "goal": f"≤ {goal:g}",
            "met": "yes" if found.mean <= goal else "no",
        }
    return pd.DataFrame.from_dict(lines, orient="index")
