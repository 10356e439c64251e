"""Classes of words, found by competition: words that keep the same company fall to the same cell.

A word's company is how much more often than by chance each frequent word stands just before and
just after it. Cells compete for words; the winner is the cell whose company is most alike, and it
moves to the mean of what it won, as a Hebbian cell does whose weights are kept at one length.
"""

import numba
import numpy as np

from plasticity.substrate.domains.stories.text import Stream

COMPANY = 300  # frequent words that a word is known by
ROUNDS = 10


def classes_of(stream: Stream, words: int, cells: int) -> np.ndarray:
    """Return the class of every word.

    Parameters
    ----------
    stream : Stream
    words : int
        Size of the vocabulary.
    cells : int
        Classes, 1 or more; fewer may win anything.

    Returns
    -------
    ndarray of int32, shape (words,)
        The most frequent words start the classes, and keep the order of their frequency.

    Raises
    ------
    ValueError
        For no cells.

    Examples
    --------
    >>> stories = [np.array([4, 5, 6]), np.array([4, 7, 6]), np.array([4, 5, 6, 4, 7, 6])]
    >>> found = classes_of(Stream.of(stories), words=8, cells=5)
    >>> bool(found[5] == found[7]), bool(found[4] == found[5])
    (True, False)
    """
    if cells < 1:
        raise ValueError(f"cells is {cells}; allowed: 1 or more")
    counts = np.bincount(stream.words, minlength=words)
    order = np.argsort(-counts, kind="stable")
    known = np.full(words, -1)
    frequent = order[: min(COMPANY, words)]
    known[frequent] = np.arange(len(frequent))
    company = np.zeros((words, 2 * len(frequent)))
    before, after = stream.words[:-1], stream.words[1:]
    for own, other, first in ((after, before, 0), (before, after, len(frequent))):
        there = known[other] >= 0
        pairs = own[there] * np.int64(company.shape[1]) + first + known[other[there]]
        company += np.bincount(pairs, minlength=company.size).reshape(company.shape)
    expected = company.sum(axis=1, keepdims=True) * company.sum(axis=0) / company.sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        surprise = np.where(company > 0, np.log(company / expected).clip(0), 0.0)
    length = np.sqrt((surprise**2).sum(axis=1, keepdims=True))
    surprise = (surprise / np.maximum(length, 1e-9)).astype(np.float32)
    return _compete(surprise, np.ascontiguousarray(surprise[order[:cells]].T), ROUNDS)


@numba.njit(cache=True)
def _compete(inputs, weights, rounds):
    """Let cells, a column of weights each, win inputs and move to the mean of what they won."""
    winners = np.zeros(len(inputs), np.int32)
    activations = np.empty(weights.shape[1], np.float32)
    for _ in range(rounds):
        for i in range(len(inputs)):
            activations[:] = 0
            for k in range(inputs.shape[1]):
                value, row = inputs[i, k], weights[k]
                if value != 0:
                    for cell in range(len(activations)):
                        activations[cell] += value * row[cell]
            winners[i] = activations.argmax()
        weights[:] = 0
        for i in range(len(inputs)):
            weights[:, winners[i]] += inputs[i]
        for cell in range(len(activations)):
            length = np.sqrt((weights[:, cell] ** 2).sum())
            if length > 0:
                weights[:, cell] /= length
    return winners
