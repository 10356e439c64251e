"""Modified Kneser-Ney smoothing, interpolated (Chen and Goodman, 1998), as KenLM estimates it.

All counting is by sorting. Conventions are those of KenLM's ``lmplz`` (Heafield et al., 2013): one
mark opens a text, n-grams that start with it keep their raw counts at every order, all other lower
orders count the different words to their left, and unigrams are interpolated with the uniform
distribution.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FALLBACK = (0.5, 1.0, 1.5)  # lmplz's discounts where the counts of counts give none


@dataclass(frozen=True)
class Order:
    """The n-grams of one order.

    Attributes
    ----------
    keys : ndarray of int64
        Of each n-gram, ascending: number of its first n - 1 words as an n-gram of the order below,
        times the number of words, plus its last word.
    shares : ndarray of float64
        What its discounted count gives it.
    back_off : ndarray of float64
        By number of an n-gram of the order below: the share that its continuations leave over.
    """

    keys: np.ndarray
    shares: np.ndarray
    back_off: np.ndarray


class KneserNey:
    """An n-gram model of texts given as whole numbers.

    Parameters
    ----------
    texts : sequence of ndarray of int
        Words 0 to words - 1 of each text, without marks at its start or end.
    words : int
        Number of different words there may be.
    order : int
        Longest n-gram, 1 or more.

    Raises
    ------
    ValueError
        For no texts, or for words out of range.

    References
    ----------
    Chen and Goodman (1998), An empirical study of smoothing techniques for language modeling.
    Heafield et al. (2013), Scalable modified Kneser-Ney language model estimation.

    Examples
    --------
    >>> model = KneserNey([np.array([0, 1, 0, 1]), np.array([1, 0])], words=2, order=2)
    >>> print(np.exp(model.log_probabilities([np.array([0, 1])])[0]).round(2))
    [0.42 0.5  0.33]
    """

    def __init__(self, texts: Sequence[np.ndarray], words: int, order: int):
        if not len(texts):
            raise ValueError("texts is empty; allowed: one text or more")
        if order < 1:
            raise ValueError(f"order is {order}; allowed: 1 or more")
        self.order, self.words = order, words
        stream, place = _joined(texts, words)
        grams = stream
        numbers, valid = [], []
        keys_of_order = []
        for n in range(1, order + 1):
            reaches = place >= n - 1
            if n > 1:
                before = np.concatenate([[0], grams[:-1]])
                combined = np.where(reaches, before * (words + 2) + stream, -1)
            else:
                combined = stream
            keys, grams = np.unique(combined, return_inverse=True)
            if keys[0] < 0:
                keys, grams = keys[1:], grams - 1
            keys_of_order.append(keys)
            numbers.append(grams)
            valid.append(reaches)
        self.orders = self._estimated(keys_of_order, numbers, valid)

    def _estimated(self, keys_of_order, numbers, valid) -> list[Order]:
        opens = self.words + 1
        found = []
        for n in range(1, self.order + 1):
            keys, grams, here = keys_of_order[n - 1], numbers[n - 1], valid[n - 1]
            if n == self.order:
                counts = np.bincount(grams[here], minlength=len(keys))
            else:
                longer = valid[n]
                first = np.unique(numbers[n][longer], return_index=True)[1]
                counts = np.bincount(grams[longer][first], minlength=len(keys))
                # What starts with the opening mark has nothing to its left: raw counts.
                counts += np.bincount(grams[here & ~longer], minlength=len(keys))
            if n == 1:
                counts[np.searchsorted(keys, opens)] = 0
            found.append(self._order(n, keys, counts, found))
        return found

    def _order(self, n: int, keys: np.ndarray, counts: np.ndarray, found: list[Order]) -> Order:
        discounts = np.concatenate([[0.0], discounts_of(counts)])
        taken = discounts[np.minimum(counts, 3)]
        contexts = keys // (self.words + 2) if n > 1 else np.zeros(len(keys), np.int64)
        number = len(found[-1].keys) if n > 1 else 1
        totals = np.bincount(contexts, counts, minlength=number)
        shares = (counts - taken) / np.maximum(totals, 1)[contexts]
        left = np.bincount(contexts, taken, minlength=number)
        back_off = np.where(totals > 0, left / np.maximum(totals, 1), 1.0)
        return Order(keys, shares, back_off)

    def log_probabilities(self, texts: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Score every word of texts and the end of each.

        Parameters
        ----------
        texts : sequence of ndarray of int

        Returns
        -------
        list of ndarray of float64
            Natural logarithms, one more than the text has words.
        """
        stream, place = _joined(texts, self.words)
        probability = np.full(len(stream), 1.0 / (self.words + 1))  # any word, or the end
        contexts = np.zeros(len(stream), np.int64)  # numbers of the contexts, -1 unknown
        for n, order in enumerate(self.orders, 1):
            if not len(order.keys):  # every text was shorter
                break
            grams = self._numbers(order, np.where(place >= n - 1, contexts, -1), stream, n)
            back_off = np.where(contexts >= 0, order.back_off[contexts], 1.0)
            probability = probability * back_off
            probability += np.where(grams >= 0, order.shares[grams], 0.0)
            contexts = np.concatenate([[-1], grams[:-1]])
        ends = np.flatnonzero(place == 0)[1:]
        logs = np.log(np.where(place == 0, 1.0, probability))
        return [part[1:] for part in np.split(logs, ends)]

    def _numbers(self, order: Order, contexts, stream, n: int) -> np.ndarray:
        """Return the number of each n-gram, -1 where it was never counted."""
        keys = contexts * (self.words + 2) + stream if n > 1 else stream
        found = np.minimum(np.searchsorted(order.keys, keys), len(order.keys) - 1)
        there = (order.keys[found] == keys) & (contexts >= 0)
        return np.where(there, found, -1)


def discounts_of(counts: np.ndarray) -> np.ndarray:
    """Return what is taken from counts of one, two, and three or more.

    Parameters
    ----------
    counts : ndarray of int

    Returns
    -------
    ndarray of float64, shape (3,)
    """
    ones = np.bincount(np.minimum(counts, 5), minlength=6)[1:5].astype(float)
    if ones[0] == 0 or ones[1] == 0 or ones[2] == 0:
        return np.array(FALLBACK)
    share = ones[0] / (ones[0] + 2 * ones[1])
    found = np.arange(1, 4) - np.arange(2, 5) * share * ones[1:] / ones[:-1]
    return found if (found >= 0).all() else np.array(FALLBACK)


def _joined(texts: Sequence[np.ndarray], words: int) -> tuple[np.ndarray, np.ndarray]:
    """Return all texts, each opened and closed by a mark, and the places of words in their text."""
    lengths = np.array([len(text) for text in texts])
    flat = np.concatenate([*texts, np.zeros(0, np.int64)]).astype(np.int64)
    if flat.size and not 0 <= flat.min() <= flat.max() < words:
        raise ValueError(f"a word is {flat.min()} or {flat.max()}; allowed: 0 to {words - 1}")
    starts = np.cumsum(lengths + 2) - lengths - 2
    place = np.arange(len(flat) + 2 * len(texts)) - np.repeat(starts, lengths + 2)
    stream = np.full(len(place), words + 1)
    inner = np.repeat(starts + 1, lengths) + np.arange(len(flat))
    inner -= np.repeat(np.cumsum(lengths) - lengths, lengths)
    stream[inner] = flat
    stream[starts + lengths + 1] = words
    return stream, place
