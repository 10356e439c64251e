"""Means with intervals over seeds, and differences paired by seed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import stdtr, stdtrit

BATCH_ELEMENTS = 4_000_000  # numbers held at once while resampling: 32 MB


@dataclass(frozen=True)
class Interval:
    """A mean with the bounds of its confidence interval.

    Parameters
    ----------
    mean : float
        The estimate.
    low, high : float
        Bounds of the interval; nan where a single value gives none.
    count : int
        How many values (or pairs) it rests on.
    """

    mean: float
    low: float
    high: float
    count: int


def _finite_vector(values: Sequence[float], confidence: float) -> np.ndarray:
    """Return `values` as floats of shape (count,), with the arguments checked."""
    vector = np.asarray(values, dtype=float)
    if vector.ndim != 1 or vector.size == 0:
        raise ValueError(f"values has shape {vector.shape}; give one or more numbers in one row")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; allowed: between 0 and 1, such as 0.95")
    return vector


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Return the mean with Student's t interval.

    Parameters
    ----------
    values : sequence of float, shape (count,)
        One value a seed. A value that is not finite makes the result nan.
    confidence : float
        Coverage, between 0 and 1.

    Raises
    ------
    ValueError
        If there is no value or the confidence is out of range.

    Examples
    --------
    >>> interval = mean_interval([1.0, 2.0, 3.0])
    >>> round(interval.low, 2), interval.mean, round(interval.high, 2)
    (-0.48, 2.0, 4.48)
    """
    vector = _finite_vector(values, confidence)
    mean, count = float(vector.mean()), vector.size
    if count == 1:
        return Interval(mean, np.nan, np.nan, 1)
    half = stdtrit(count - 1, (1 + confidence) / 2) * vector.std(ddof=1) / np.sqrt(count)
    return Interval(mean, float(mean - half), float(mean + half), count)


def bootstrap_interval(
    values: Sequence[float],
    statistic: Callable = np.mean,
    confidence: float = 0.95,
    resamples: int = 10_000,
    random_state: int = 0,
) -> Interval:
    """Return a statistic with its bias-corrected and accelerated bootstrap interval.

    Parameters
    ----------
    values : sequence of float, shape (count,)
        The units that are resampled: documents, games, items.
    statistic : callable
        Maps a sample to a number, such as ``numpy.mean``.
    confidence : float
        Coverage, between 0 and 1.
    resamples : int
        Number of resamples, at least 1.
    random_state : int
        Seed of the resampling.

    Returns
    -------
    Interval
        Its bounds are nan for a single value or values that are not finite.

    Raises
    ------
    ValueError
        If there is no value, or the confidence or the number of resamples is out of range.

    Examples
    --------
    >>> interval = bootstrap_interval([0, 0, 1, 1, 1, 0, 1, 1], resamples=500)
    >>> interval.low < interval.mean < interval.high
    True
    """
    from scipy import stats  # takes a second to load, and most pages have no use for it

    vector = _finite_vector(values, confidence)
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; allowed: 1 or more")
    estimate, count = float(statistic(vector)), vector.size
    if count == 1 or not np.isfinite(vector).all():
        return Interval(estimate, np.nan, np.nan, count)
    if np.ptp(vector) == 0:
        return Interval(estimate, estimate, estimate, count)
    found = stats.bootstrap(
        (vector,),
        statistic,
        n_resamples=resamples,
        batch=max(1, BATCH_ELEMENTS // count),
        confidence_level=confidence,
        rng=np.random.default_rng(random_state),
    ).confidence_interval
    return Interval(estimate, float(found.low), float(found.high), count)


def cluster_resampler(clusters: np.ndarray, resamples: int, rng: np.random.Generator) -> Callable:
    """Return what maps values to their means where whole clusters, such as texts, are drawn again.

    Parameters
    ----------
    clusters : ndarray of int, shape (values,)
        Which cluster each value belongs to: values of one are not independent.
    resamples : int
        How often they are drawn, as many as there are, with replacement.
    rng : numpy.random.Generator

    Returns
    -------
    callable
        From an ndarray of shape (values,) to one of shape (resamples,).

    Examples
    --------
    >>> means = cluster_resampler(np.array([3, 3, 7]), 200, np.random.default_rng(0))
    >>> sorted(set(means(np.array([1.0, 1.0, 0.0])).round(2).tolist()))
    [0.0, 0.67, 1.0]
    """
    _, clusters = np.unique(clusters, return_inverse=True)
    count, sizes = clusters.max() + 1, np.bincount(clusters)
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=resamples)
    return lambda values: (drawn @ np.bincount(clusters, values)) / (drawn @ sizes)


def values_by_seed(
    rows: pd.DataFrame,
    metric: str,
    variant: str,
    split: str | None = None,
    step: int | None = None,
) -> pd.Series:
    """Return the one value that each seed measured.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows with the columns variant, seed, step, split, metric, value.
    metric, variant : str
        Which rows.
    split : str or None
        Which split; None accepts any, as long as each seed has one value.
    step : int or None
        Which step, likewise.

    Returns
    -------
    Series
        Values indexed by seed, sorted; empty where nothing was measured.

    Raises
    ------
    ValueError
        If a seed has several such values, because split or step was left open.
    """
    wanted = (rows["metric"] == metric) & (rows["variant"] == variant)
    if split is not None:
        wanted &= rows["split"] == split
    if step is not None:
        wanted &= rows["step"] == step
    values = rows.loc[wanted].set_index("seed")["value"].sort_index()
    if values.index.has_duplicates:
        splits = sorted(rows.loc[wanted, "split"].unique())
        steps = sorted(rows.loc[wanted, "step"].unique().tolist())
        raise ValueError(
            f"{metric} of {variant!r} has several values a seed "
            f"(splits {splits}, steps {steps}): name the split and the step"
        )
    return values


def paired_difference(
    rows: pd.DataFrame,
    metric: str,
    a: str,
    b: str,
    split: str | None = None,
    step: int | None = None,
) -> Interval:
    """Return the mean of ``a - b``, paired by seed, with Student's t interval.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows with the columns variant, seed, step, split, metric, value.
    metric : str
        Which quantity.
    a, b : str
        The two variants. Only seeds that both have are used.
    split : str or None
        Which split; None accepts any, as long as each seed has one value.
    step : int or None
        Which step, likewise.

    Raises
    ------
    ValueError
        If the variants share no seed, or a seed has several values.
    """
    first = values_by_seed(rows, metric, a, split, step)
    second = values_by_seed(rows, metric, b, split, step)
    shared = first.index.intersection(second.index)
    if shared.empty:
        raise ValueError(
            f"{metric}: {a!r} (seeds {first.index.tolist()}) and {b!r} "
            f"(seeds {second.index.tolist()}) share no seed: run both with the same seeds"
        )
    return mean_interval((first.loc[shared] - second.loc[shared]).to_numpy())


def summarise(
    rows: pd.DataFrame, by: Sequence[str] = ("variant", "split", "step", "metric")
) -> pd.DataFrame:
    """Return one line a group with its mean and interval over seeds.

    Parameters
    ----------
    rows : DataFrame
        Tidy rows.
    by : sequence of str
        Columns that tell groups apart. Each seed must have one value in a group.

    Returns
    -------
    DataFrame
        The columns of `by`, then mean, low, high, seeds, unit; groups in order of appearance.

    Raises
    ------
    ValueError
        If a seed has several values in a group.
    """
    keys = list(by)
    lines = []
    for group, found in rows.groupby(keys, sort=False, dropna=False):
        if found["seed"].duplicated().any():
            named = dict(zip(keys, group, strict=True))
            raise ValueError(
                f"several values a seed in {named}: add the column that tells them apart to `by`, "
                "or select rows first"
            )
        interval = mean_interval(found["value"].to_numpy())
        unit = found["unit"].iloc[0]
        lines.append([*group, interval.mean, interval.low, interval.high, interval.count, unit])
    return pd.DataFrame(lines, columns=[*keys, "mean", "low", "high", "seeds", "unit"])


def hierarchical_interval(
    differences: np.ndarray,
    confidence: float = 0.95,
    resamples: int = 10_000,
    random_state: int = 0,
) -> Interval:
    """Return a mean with its bootstrap interval over seeds and the items that all seeds share.

    Seeds are drawn again, and in each resample one draw of the items serves all seeds: what an item
    has in common over seeds is not counted once for each of them.

    Parameters
    ----------
    differences : ndarray of float, shape (seeds, items)
        Paired by seed and item, such as right or wrong of one arm less that of another; an item
        may be a cluster of questions.
    confidence : float
    resamples : int
        At least 1.
    random_state : int

    Raises
    ------
    ValueError
        If the shape is another, or confidence or resamples are out of range.

    Examples
    --------
    >>> found = hierarchical_interval(np.array([[1.0, 0, 1, 1], [1, 0, 0, 1]]), resamples=500)
    >>> found.low < found.mean < found.high, found.mean, found.count
    (True, 0.625, 2)
    """
    differences = np.asarray(differences, dtype=float)
    if differences.ndim != 2 or not differences.size:
        raise ValueError(f"differences has shape {differences.shape}; allowed: (seeds, items)")
    _finite_vector(differences.ravel(), confidence)
    if resamples < 1:
        raise ValueError(f"resamples is {resamples}; allowed: 1 or more")
    rng = np.random.default_rng(random_state)
    seeds, items = differences.shape
    by_seed = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds
    by_item = rng.multinomial(items, np.full(items, 1 / items), size=resamples) / items
    means = ((by_seed @ differences) * by_item).sum(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(differences.mean()), float(low), float(high), seeds)


def paired_p_value(differences: Sequence[float]) -> float:
    """Return the two-sided p of Student's paired t test; nan for a single difference.

    Examples
    --------
    >>> round(paired_p_value([1.0, 2.0, 3.0]), 4)
    0.0742
    >>> paired_p_value([0.0, 0.0, 0.0])
    1.0
    """
    vector = _finite_vector(differences, 0.95)
    if vector.size == 1:
        return np.nan
    spread = vector.std(ddof=1) / np.sqrt(vector.size)
    if spread == 0:
        return 1.0 if vector.mean() == 0 else 0.0
    return float(2 * stdtr(vector.size - 1, -abs(vector.mean() / spread)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number by Holm's method; nan counts, and stays.

    References
    ----------
    Holm (1979), A simple sequentially rejective multiple test procedure.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, dtype=float)
    corrected, largest = np.full(values.size, np.nan), 0.0
    for rank, place in enumerate(np.argsort(values)):
        if np.isfinite(values[place]):
            largest = max(largest, min(1.0, (values.size - rank) * values[place]))
            corrected[place] = largest
    return corrected.tolist()
