"""Local errors of the last hop, for the rules delta and adam."""

import numpy as np


def softmax_error(scores: np.ndarray, target: int) -> np.ndarray:
    """Return the local error of a softmax on the last hop: 1 for the target, minus probabilities.

    Parameters
    ----------
    scores : ndarray of float, shape (classes,)
    target : int
        Place of the right class.

    Returns
    -------
    ndarray of float32, shape (classes,)

    Examples
    --------
    >>> softmax_error(np.zeros(2), 0)
    array([ 0.5, -0.5], dtype=float32)
    """
    shares = np.exp(scores - np.max(scores))
    error = -shares / shares.sum()
    error[target] += 1
    return error.astype(np.float32)


def margin_error(scores: np.ndarray, target: int, margin: float = 0.0) -> np.ndarray:
    """Return the error of a perceptron with a margin: +1 for the target, -1 for its rival.

    Parameters
    ----------
    scores : ndarray of float, shape (classes,)
        At least two.
    target : int
        Place of the right class.
    margin : float
        The target has to lead the best other class by more than this, else both are corrected.

    Returns
    -------
    ndarray of float32, shape (classes,)

    Examples
    --------
    >>> margin_error(np.array([1.0, 3.0, 0.0]), 0)
    array([ 1., -1.,  0.], dtype=float32)
    """
    others = np.array(scores, float)
    others[target] = -np.inf
    rival = int(np.argmax(others))
    error = np.zeros(len(others), np.float32)
    if scores[target] - others[rival] <= margin:
        error[target], error[rival] = 1, -1
    return error
