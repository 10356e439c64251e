"""How difficult a token is, by the model's own word and without it, and what goes with that.

References
----------
Choi (2025), Plastic Neural Networks, released script, experiments 5, 9 and 10. Chapter: evidence.
"""

import numpy as np
from scipy import stats

CLASSES = ("easy", "medium", "hard")
RELEASED_LIMITS = (0.7, 0.3)  # the reference: easy above the first, medium above the second


def released_classes(probabilities: np.ndarray) -> np.ndarray:
    """Sort tokens as the reference does: by the probability that the model ends up with.

    Parameters
    ----------
    probabilities : ndarray, shape (tokens,)
        Of each hidden token.

    Returns
    -------
    ndarray of int64, shape (tokens,)
        Index into `CLASSES`.

    Examples
    --------
    >>> released_classes(np.array([0.9, 0.7, 0.3, 0.1])).tolist()
    [0, 1, 2, 2]
    """
    easy, medium = RELEASED_LIMITS
    return np.where(probabilities > easy, 0, np.where(probabilities > medium, 1, 2))


def rarity(train_ids: np.ndarray, vocab_size: int) -> np.ndarray:
    """Return how rare each token is in a training text: a difficulty that no model has a part in.

    Parameters
    ----------
    train_ids : ndarray of int
        Of any shape.
    vocab_size : int

    Returns
    -------
    ndarray of float64, shape (vocab_size,)
        Negative logarithm of the share, nats, with one added to every count.

    Examples
    --------
    >>> rarity(np.array([0, 0, 0, 1]), 3).round(2).tolist()
    [0.56, 1.25, 1.95]
    """
    counts = np.bincount(train_ids.ravel(), minlength=vocab_size) + 1.0
    return np.log(counts.sum() / counts)


def thirds(values: np.ndarray) -> np.ndarray:
    """Sort values into thirds; equal values are never parted.

    Parameters
    ----------
    values : ndarray, shape (tokens,)
        The higher, the more difficult.

    Returns
    -------
    ndarray of int64, shape (tokens,)
        Index into `CLASSES`.

    Examples
    --------
    >>> thirds(np.array([1.0, 5, 3, 2, 4, 6])).tolist()
    [0, 2, 1, 0, 1, 2]
    """
    places = stats.rankdata(values) / (len(values) + 1)
    return np.digitize(places, [1 / 3, 2 / 3])


def within(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return values less the mean of their group: what a group has in common is taken out.

    Parameters
    ----------
    values : ndarray, shape (values,)
    groups : ndarray of int, shape (values,)

    Returns
    -------
    ndarray of float64, shape (values,)

    Examples
    --------
    >>> within(np.array([1.0, 3.0, 7.0]), np.array([0, 0, 4])).tolist()
    [-1.0, 1.0, 0.0]
    """
    _, groups = np.unique(groups, return_inverse=True)
    means = np.bincount(groups, values) / np.bincount(groups)
    return values - means[groups]


def residual(values: np.ndarray, control: np.ndarray) -> np.ndarray:
    """Return what a straight line through a control leaves of values.

    Parameters
    ----------
    values, control : ndarray, shape (values,)

    Returns
    -------
    ndarray of float64, shape (values,)
        Of mean 0, and uncorrelated with the control.

    Examples
    --------
    >>> residual(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0])).round(9).tolist()
    [0.0, 0.0, 0.0]
    """
    values, control = values - values.mean(), control - control.mean()
    spread = control @ control
    return values - (control @ values / spread if spread > 0 else 0.0) * control


def correlation(first: np.ndarray, second: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the correlation of two quantities, and each value's part in its error.

    Parameters
    ----------
    first, second : ndarray, shape (values,)

    Returns
    -------
    value : float
        Pearson's; 0 where one of them does not vary.
    influence : ndarray of float64, shape (values,)
        Of mean 0: means of it over resampled values are, to first order, the errors of `value`.

    Examples
    --------
    >>> round(correlation(np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0]))[0], 9)
    -1.0
    """
    spreads = first.std(), second.std()
    if not all(spreads):
        return 0.0, np.zeros(len(first))
    first, second = (
        (values - values.mean()) / spread
        for values, spread in zip((first, second), spreads, strict=True)
    )
    value = float((first * second).mean())
    return value, first * second - value * (first**2 + second**2) / 2


def area_under_curve(scores: np.ndarray, right: np.ndarray) -> tuple[float, np.ndarray]:
    """Return how well scores tell right from wrong, and each value's part in its error.

    Parameters
    ----------
    scores : ndarray, shape (values,)
        High where right is expected.
    right : ndarray of bool, shape (values,)

    Returns
    -------
    value : float
        The probability that a right one scores above a wrong one, ties counting half: the area
        under the receiver operating characteristic. One half where all are right, or wrong.
    influence : ndarray of float64, shape (values,)
        As for `correlation`.

    Examples
    --------
    >>> area_under_curve(np.array([0.9, 0.8, 0.1]), np.array([True, False, False]))[0]
    1.0
    """
    count = int(right.sum())
    if count in (0, len(right)):
        return 0.5, np.zeros(len(right))
    ranks = stats.rankdata(scores)
    own = np.zeros(len(scores))
    for group, other in ((right, ~right), (~right, right)):
        own[group] = (ranks[group] - stats.rankdata(scores[group])) / other.sum()
    value = float(own[right].mean())
    above = np.where(right, own, 1 - own)  # of a wrong one: the share of right ones above it
    weight = np.where(right, len(right) / count, len(right) / (len(right) - count))
    return value, (above - value) * weight
