"""Summaries as tables that people read: one row an arm, one cell a mean with its interval."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from IPython.display import HTML

    from plasticity.companion.statistics import Interval

ABSENT = "—"


def cell(mean: float, low: float, high: float, form: str = "{:,.1f}") -> str:
    """Return a mean with its interval as text.

    Parameters
    ----------
    mean, low, high : float
        The bounds may be nan, or equal to the mean; then only the mean is shown.
    form : str
        Format of each number.

    Examples
    --------
    >>> cell(27.04, 26.1, 27.9)
    '27.0 [26.1, 27.9]'
    """
    texts = [form.format(value) for value in (mean, low, high)]
    if math.isnan(low) or math.isnan(high) or low == high:
        return texts[0]
    return f"{texts[0]} [{texts[1]}, {texts[2]}]"


def interval_cell(found: "Interval", form: str = "{:,.1f}") -> str:
    """Return an interval as text, as `cell` does.

    Examples
    --------
    >>> from plasticity.companion.statistics import Interval
    >>> interval_cell(Interval(27.04, 26.1, 27.9, 3))
    '27.0 [26.1, 27.9]'
    """
    return cell(found.mean, found.low, found.high, form)


def by_variant(
    summary: pd.DataFrame,
    columns: Mapping[str, tuple[str, str, str]],
    labels: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Arrange a summary as a table with one row for each arm.

    Parameters
    ----------
    summary : DataFrame
        Columns variant, split, step, metric, mean, low, high, as `statistics.summarise` gives
        them. Rows of steps other than 0 are left out.
    columns : mapping of str to (metric, split, form)
        Heading of each column, and what stands in it.
    labels : mapping of str to str, optional
        Names to show for the variants.

    Returns
    -------
    DataFrame
        Texts; a dash where an arm has no such measurement, and the number of seeds where not all
        of them have it.
    """
    at_zero = summary[summary["step"] == 0].set_index(["variant", "metric", "split"])
    most = summary.groupby("variant")["seeds"].max()
    lines = {}
    for variant in dict.fromkeys(summary["variant"]):
        texts = []
        for metric, split, form in columns.values():
            key = (variant, metric, split)
            if key in at_zero.index:
                found = at_zero.loc[key]
                text = cell(found["mean"], found["low"], found["high"], form)
                some = found["seeds"] < most[variant]
                texts.append(
                    f"{text} ({found['seeds']} of {most[variant]} seeds)" if some else text
                )
            else:
                texts.append(ABSENT)
        lines[(labels or {}).get(variant, variant)] = texts
    return pd.DataFrame.from_dict(lines, orient="index", columns=list(columns))


def show(table: pd.DataFrame) -> "HTML":
    """Return a table for a notebook with its texts whole: pandas would cut them short."""
    from IPython.display import HTML

    with pd.option_context("display.max_colwidth", None):
        return HTML(table.to_html())
