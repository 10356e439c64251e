"""The rules by which recorded rows decide a claim.

number
    The 95% interval over seeds meets ``value`` +- ``tolerance`` (relative).
half_width
    The same for half the width of that interval, where the claim is a spread.
sequence
    A number for each of several values, along a list of steps or of splits; all must hold.
direction
    The interval of ``variant: "a - b"``, paired by seed, lies on the metric's better side of 0.
check
    A named check is 1 in every seed.
arithmetic
    The source's own figures, computed again, differ from ``value`` by at most ``tolerance``.
exported
    ``plasticity export`` writes the file that the source's script writes from recorded rows.

Two further rules need no rows. Stated: no measurement of ours can decide, and the claim says why.
Shipped: the project has the files that were promised.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from plasticity.companion.export import FORMS
from plasticity.companion.metrics import HIGHER, metric
from plasticity.companion.statistics import (
    Interval,
    mean_interval,
    paired_difference,
    values_by_seed,
)

if TYPE_CHECKING:
    from plasticity.companion.claims import Claim

NOT_FINITE = "the measurement is not finite"


@dataclass(frozen=True)
class Evidence:
    """What a rule found in one level's rows.

    Parameters
    ----------
    outcome : {'holds', 'exceeds', 'fails'}
        Whether the claim holds there.
    measured : str
        The measurement, for display.
    interval : Interval
        Its mean and bounds (nan where there is no single one) and its number of seeds.
    reason : str
        What is wrong, where something is.
    """

    outcome: str
    measured: str
    interval: Interval
    reason: str = ""


def text(number: float) -> str:
    """Return a number for display, with four significant digits or all those of a count.

    Examples
    --------
    >>> text(53707323), text(47.4)
    ('53,707,323', '47.4')
    """
    return f"{number:,.0f}" if abs(number) >= 10_000 else f"{number:.4g}"


def _interval_text(found: Interval) -> str:
    if found.low == found.high:
        return text(found.mean)
    if found.count == 1:
        return f"{text(found.mean)} (one seed)"
    return f"{text(found.mean)} [{text(found.low)}, {text(found.high)}]"


def pair(variant: str) -> tuple[str, str]:
    """Return the two variants of ``"a - b"``.

    Raises
    ------
    ValueError
        If it does not name exactly two.

    Examples
    --------
    >>> pair("pnn - bert")
    ('pnn', 'bert')
    """
    parts = [part.strip() for part in variant.split(" - ")]
    if len(parts) != 2 or not all(parts):
        raise ValueError(f"{variant!r} is no difference; allowed: 'a - b'")
    return parts[0], parts[1]


def _exact(claim: "Claim", found: Interval) -> Interval:
    """Return the interval; that of a single measurement without randomness is its value."""
    if claim.deterministic and found.count == 1:
        return dataclasses.replace(found, low=found.mean, high=found.mean)
    return found


def _interval(claim: "Claim", rows: pd.DataFrame, split: Any, step: Any) -> Interval | None:
    """Return the interval over seeds, None where nothing was measured."""
    values = values_by_seed(rows, claim.metric, claim.variant, split, step)
    if values.empty:
        return None
    return _exact(claim, mean_interval(values.to_numpy()))


def _band(claim: "Claim", value: float) -> float:
    """Return how far a measurement may lie from a claimed value, with room for rounding."""
    return (claim.band + 1e-9) * abs(value)


def _compare(claim: "Claim", found: Interval, value: float) -> str:
    """Compare an interval with one claimed value; exact counts are never exceeded."""
    band = _band(claim, value)
    if found.low <= value + band and found.high >= value - band:
        return "holds"
    side = metric(claim.metric).better
    if claim.band == 0 or side is None:
        return "fails"
    beyond = found.low > value + band if side == HIGHER else found.high < value - band
    return "exceeds" if beyond else "fails"


def _number(claim: "Claim", rows: pd.DataFrame) -> Evidence | None:
    found = _interval(claim, rows, claim.split, claim.step)
    if found is None:
        return None
    measured = f"{_interval_text(found)} {metric(claim.metric).unit}"
    outcome = _compare(claim, found, claim.value)
    reason = "" if np.isfinite(found.mean) else NOT_FINITE
    if outcome == "holds" and abs(found.mean - claim.value) > _band(claim, claim.value):
        reason = "the interval reaches it, the mean does not"
    return Evidence(outcome, measured, found, reason)


def _half_width(claim: "Claim", rows: pd.DataFrame) -> Evidence | None:
    found = _interval(claim, rows, claim.split, claim.step)
    if found is None:
        return None
    half = (found.high - found.low) / 2
    band = claim.band * claim.value
    outcome = "holds" if abs(half - claim.value) <= band else "fails"
    if half < claim.value - band:
        outcome = "exceeds"
    unit = metric(claim.metric).unit
    measured = f"+- {text(half)} around {_interval_text(found)} {unit}"
    return Evidence(outcome, measured, Interval(half, np.nan, np.nan, found.count))


def _sequence(claim: "Claim", rows: pd.DataFrame) -> Evidence | None:
    length = len(claim.value)
    splits = claim.split if isinstance(claim.split, tuple) else (claim.split,) * length
    steps = claim.step if isinstance(claim.step, tuple) else (claim.step,) * length
    found = [_interval(claim, rows, *place) for place in zip(splits, steps, strict=True)]
    if any(interval is None for interval in found):
        return None
    outcomes = [_compare(claim, *two) for two in zip(found, claim.value, strict=True)]
    measured = f"{'; '.join(map(_interval_text, found))} {metric(claim.metric).unit}"
    missed = outcomes.count("fails")
    if missed:
        outcome, reason = "fails", f"{missed} of the {length} values differ"
    else:
        outcome, reason = ("exceeds" if set(outcomes) == {"exceeds"} else "holds"), ""
    count = min(interval.count for interval in found)
    return Evidence(outcome, measured, Interval(np.nan, np.nan, np.nan, count), reason)


def _for_every_seed(rows: pd.DataFrame, fixed: str, other: str) -> pd.DataFrame:
    """Return rows in which a variant that no seed changes is there for each seed of another."""
    own = rows[rows["variant"] == fixed]
    once = own[own["seed"] == own["seed"].min()]
    seeds = rows.loc[rows["variant"] == other, "seed"].unique()
    rest = rows[rows["variant"] != fixed]
    return pd.concat([rest, *(once.assign(seed=seed) for seed in seeds)], ignore_index=True)


def _direction(claim: "Claim", rows: pd.DataFrame) -> Evidence | None:
    a, b = pair(claim.variant)
    if claim.untrained:
        rows = _for_every_seed(rows, claim.untrained, b if claim.untrained == a else a)
    place = (claim.split, claim.step)
    first, second = (values_by_seed(rows, claim.metric, name, *place) for name in (a, b))
    if first.index.intersection(second.index).empty:
        return None
    found = _exact(claim, paired_difference(rows, claim.metric, a, b, *place))
    quantity = metric(claim.metric)
    sign = 1 if quantity.better == HIGHER else -1
    unit = "points" if quantity.unit == "percent" else quantity.unit
    shown = f"{a} - {b}: {_interval_text(found)} {unit}"
    if not np.isfinite(found.mean):
        return Evidence("fails", shown, found, NOT_FINITE)
    low, high = sorted((sign * found.low, sign * found.high))
    if low > 0:
        return Evidence("holds", shown, found)
    reason = "the difference is on the other side" if high < 0 else "the interval includes 0"
    return Evidence("fails", shown, found, reason)


def _check(claim: "Claim", rows: pd.DataFrame) -> Evidence | None:
    wanted = (rows["metric"] == claim.metric) & (rows["variant"] == claim.variant)
    if claim.split is not None:
        wanted &= rows["split"] == claim.split
    if claim.step is not None:
        wanted &= rows["step"] == claim.step
    held = rows[wanted].groupby("seed")["value"].apply(lambda values: bool((values == 1).all()))
    if held.empty:
        return None
    measured = f"{claim.metric}: in {int(held.sum())} of {len(held)} seeds"
    share = Interval(float(held.mean()), np.nan, np.nan, len(held))
    mixed = 0 < held.sum() < len(held)
    reason = "the seeds disagree" if mixed else ""
    return Evidence("holds" if held.all() else "fails", measured, share, reason)


def _arithmetic(claim: "Claim", rows: pd.DataFrame) -> Evidence | None:
    values = values_by_seed(rows, claim.metric, claim.variant, claim.split, claim.step)
    if values.empty:
        return None
    again = float(values.iloc[0])
    same = abs(again - claim.value) <= claim.band * abs(claim.value) + 1e-9
    measured = f"{text(again)} {metric(claim.metric).unit}, from the source's own figures"
    reason = "" if same else f"the source says {claim.claimed}"
    found = Interval(again, again, again, len(values))
    return Evidence("holds" if same else "fails", measured, found, reason)


def _exported(claim: "Claim", rows: pd.DataFrame) -> Evidence | None:
    name, form = FORMS[claim.experiment]
    try:
        content = form(rows)
    except ValueError:
        return None
    found = Interval(1.0, np.nan, np.nan, rows["seed"].nunique())
    return Evidence("holds", f"{name}: {', '.join(content)}", found)


RULES: dict[str, Callable[["Claim", pd.DataFrame], Evidence | None]] = {
    "number": _number,
    "half_width": _half_width,
    "sequence": _sequence,
    "direction": _direction,
    "check": _check,
    "arithmetic": _arithmetic,
    "exported": _exported,
}
