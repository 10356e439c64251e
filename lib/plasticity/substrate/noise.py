"""From what negatives are drawn: neurons, each as often as it is to be drawn."""

import numpy as np

ENTRIES = 1 << 18  # of a table: a power of two
POWER = 0.75  # Mikolov et al. (2013)


def noise_table(noise: np.ndarray) -> np.ndarray:
    """Return a table of neurons, each there in proportion to its noise to the power 0.75.

    Parameters
    ----------
    noise : ndarray of float, shape (neurons,)
        Finite, 0 or more, not all 0: how often each neuron occurs.

    Returns
    -------
    ndarray of uint32, shape (2**18,)
        Ascending.

    Raises
    ------
    ValueError
        For noise that nothing can be drawn from.

    Examples
    --------
    >>> np.bincount(noise_table(np.array([0.0, 1.0, 1.0])))
    array([     0, 131072, 131072])
    """
    noise = np.asarray(noise, float)
    if not (noise.size and noise.min() >= 0 and 0 < noise.sum() < np.inf):
        got = f"goes from {noise.min()} to {noise.max()}" if noise.size else "is empty"
        raise ValueError(f"noise {got}; allowed: finite numbers, 0 or more, not all 0")
    weights = noise**POWER
    places = (np.arange(ENTRIES) + 0.5) / ENTRIES
    return np.searchsorted(np.cumsum(weights) / weights.sum(), places).astype(np.uint32)
