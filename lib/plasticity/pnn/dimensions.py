"""Kinds of dimensions: those whose activity rises, falls or turns round along the steps.

References
----------
Choi (2025), Plastic Neural Networks, released script, experiment 4. Chapter: evidence.
"""

import numpy as np

KINDS = ("accumulator", "selector", "oscillator", "stable")


def kinds(changes: np.ndarray, tolerance: np.ndarray | float = 0.0) -> np.ndarray:
    """Sort dimensions by the signs of their changes from step to step.

    Accumulator: every change is a rise. Selector: every change is a fall. Oscillator: a rise and a
    fall follow each other. Stable: all others, such as those that never change.

    Parameters
    ----------
    changes : ndarray, shape (steps, dimensions)
        Activity after each step less that before it.
    tolerance : ndarray or float
        What a change must exceed to be one; of the shape of `changes`, or one for all. The
        reference has 0, so that hardly anything is ever stable.

    Returns
    -------
    ndarray of int64, shape (dimensions,)
        Index into `KINDS`.

    Examples
    --------
    >>> changes = np.array([[1.0, -1, 1, 0], [2, -3, -1, 0]])
    >>> [KINDS[kind] for kind in kinds(changes)]
    ['accumulator', 'selector', 'oscillator', 'stable']
    """
    return _kinds(np.sign(changes) * (np.abs(changes) > tolerance))


def _kinds(signs: np.ndarray) -> np.ndarray:
    turns = (signs[1:] * signs[:-1] < 0).any(0)
    rises, falls = (signs > 0).all(0), (signs < 0).all(0)
    return np.where(rises, 0, np.where(falls, 1, np.where(turns, 2, 3)))


def clustered_error(values: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """Return the standard error of means where values of one cluster are not independent.

    It is what resampling whole clusters gives, in closed form and to first order.

    Parameters
    ----------
    values : ndarray, shape (values, ...)
    clusters : ndarray of int, shape (values,)

    Returns
    -------
    ndarray, shape (...)

    Examples
    --------
    >>> twice = np.repeat([0.0, 1.0, 0.0, 1.0], 2)  # every value is there twice
    >>> float(clustered_error(twice, np.repeat(np.arange(4), 2)))
    0.25
    """
    _, clusters = np.unique(clusters, return_inverse=True)
    centred = values - values.mean(0)
    sums = np.zeros((clusters.max() + 1, *values.shape[1:]))
    np.add.at(sums, clusters, centred)
    return np.sqrt(np.square(sums).sum(0)) / len(values)


def null_shares(
    changes: np.ndarray, tolerance: np.ndarray | float, draws: int, rng: np.random.Generator
) -> np.ndarray:
    """Return how common each kind is where every step's signs are dealt out anew.

    Each step keeps its numbers of rises and falls, so that a general rise makes accumulators here
    too; only what one dimension does at several steps is pulled apart.

    Parameters
    ----------
    changes, tolerance
        As for `kinds`.
    draws : int
        How often they are dealt out.
    rng : numpy.random.Generator

    Returns
    -------
    ndarray, shape (draws, kinds)
        Shares, which add up to 1.
    """
    signs = np.sign(changes) * (np.abs(changes) > tolerance)
    return np.stack([shares(_kinds(rng.permuted(signs, axis=1))) for _ in range(draws)])


def shares(found: np.ndarray) -> np.ndarray:
    """Return the share of each kind.

    Parameters
    ----------
    found : ndarray of int, shape (dimensions,)
        As `kinds` gives them.

    Returns
    -------
    ndarray, shape (kinds,)
        They add up to 1.
    """
    return np.bincount(found, minlength=len(KINDS)) / len(found)
