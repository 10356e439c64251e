"""The graph that counts become: context neurons, their synapses to words, the gains of back-off.

Each level of a chain has its context neurons; a synapse leads from a context to each word that
followed it. A synapse's weight is its count less a discount, as a share of its neuron's counts; the
share that the discounts leave over is the neuron's gain, the factor on what shorter contexts say.
Activation that spreads so from the words alone to the longest context is interpolated modified
Kneser-Ney smoothing. Weights and gains are worked out from the counts when a neuron fires: counts
can be taken back, so that a story is judged by a graph that has not met it.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from plasticity.substrate.domains.stories.counts import Counts, contexts
from plasticity.substrate.domains.stories.text import BEGIN, PAD, Stream

NEVER = (PAD, BEGIN)  # never follow anything
FALLBACK = (0.5, 1.0, 1.5)  # discounts where too few counts are low to tell


class Columns(NamedTuple):
    """The columns that compiled code reads and, while a story is taken back, writes.

    Attributes
    ----------
    rows : ndarray of int64, shape (contexts + 1,)
        Where the synapses of each context neuron start.
    targets : ndarray of int32, shape (synapses,)
    counts : ndarray of int32, shape (synapses,)
        How often the word followed the context.
    firsts : ndarray of int32, shape (synapses,)
        What discounts are taken from: at a chain's longest contexts the count, at others the number
        of different longer contexts in which the word followed (none counts as one).
    sources : ndarray of int32, shape (synapses,)
        The context neuron of each synapse.
    totals : ndarray of int32, shape (contexts, 4)
        Sum of `firsts`, and how many of them are 1, 2, and 3 or more.
    base : ndarray of int32, shape (words,)
        In how many different contexts of one word each word followed.
    discounts : ndarray of float64, shape (levels + 1, 4)
        Of a count of 0 to 3 or more; the last line is that of the words alone.
    longest : ndarray of bool, shape (levels,)
        Whether a level holds the longest contexts of its chain.
    """

    rows: np.ndarray
    targets: np.ndarray
    counts: np.ndarray
    firsts: np.ndarray
    sources: np.ndarray
    totals: np.ndarray
    base: np.ndarray
    discounts: np.ndarray
    longest: np.ndarray


class Circuit:
    """Context neurons and count synapses of some chains.

    Parameters
    ----------
    counts : Counts
        Its first chain has to be of words, and start with the nearest.
    words : int
        Size of the vocabulary.
    classes : mapping of int to ndarray of int32, shape (words,), optional
        The class of every word, by number of classes, with which they were counted.

    Attributes
    ----------
    columns : Columns
    chains : tuple of Chain
    ends : ndarray of int64, shape (chains + 1,)
        Where the levels of each chain start.
    shorter : ndarray of int64, shape (contexts,)
        The next shorter context neuron of each; -1 for that of no words.
    """

    def __init__(self, counts: Counts, words: int, classes: Mapping[int, np.ndarray] | None = None):
        first = counts.chains[0]
        if first.places[0] != 1 or first.classes:
            raise ValueError(f"the first chain is {first}; allowed: one of words, from place 1 on")
        self.chains, self.words, self.classes = counts.chains, words, classes or {}
        self.ends = np.cumsum([0, *(len(chain.places) for chain in self.chains)])
        self.names, ids = zip(*(_numbered(level.names) for level in counts.levels), strict=True)
        self._contexts = np.cumsum([0, *map(len, self.names)])
        self._synapses = np.cumsum([0, *(len(level.words) for level in counts.levels)])
        self._pairs = [own * words + lv.words for own, lv in zip(ids, counts.levels, strict=True)]
        self.shorter = self._shorter(counts, ids)
        longest = np.zeros(len(counts.levels), np.bool_)
        longest[self.ends[1:] - 1] = True
        firsts = [
            level.counts if longest[place] else self._different(counts, place)
            for place, level in enumerate(counts.levels)
        ]
        base = np.bincount(counts.levels[0].words, minlength=words).astype(np.int32)
        sources = [own + start for own, start in zip(ids, self._contexts, strict=False)]
        sources = np.concatenate(sources).astype(np.int32)
        joined = np.concatenate(firsts).astype(np.int32)
        number = self._contexts[-1]
        classes = np.minimum(joined, 3)
        totals = [np.bincount(sources, joined, minlength=number)]
        totals += [np.bincount(sources[classes == k], minlength=number) for k in (1, 2, 3)]
        self.columns = Columns(
            np.concatenate([[0], np.cumsum(np.bincount(sources, minlength=number))]),
            np.concatenate([level.words for level in counts.levels]).astype(np.int32),
            np.concatenate([level.counts for level in counts.levels]).astype(np.int32),
            joined,
            sources,
            np.stack(totals, axis=1).astype(np.int32),
            base,
            np.stack([discounts_of(part) for part in (*firsts, base)]),
            longest,
        )

    @property
    def level_of_contexts(self) -> np.ndarray:
        """The level of each context neuron, int64."""
        return np.repeat(np.arange(len(self.names)), np.diff(self._contexts))

    def _shorter(self, counts: Counts, ids: tuple[np.ndarray, ...]) -> np.ndarray:
        found = np.full(self._contexts[-1], -1)
        for place, level in enumerate(counts.levels):
            if place not in self.ends:
                below = np.searchsorted(self.names[place - 1], level.shorter)
                found[self._contexts[place] + ids[place]] = self._contexts[place - 1] + below
        return found

    def _different(self, counts: Counts, place: int) -> np.ndarray:
        """Count, for each synapse, the different longer contexts that hold its own."""
        level, longer = counts.levels[place], counts.levels[place + 1]
        pairs = np.searchsorted(self.names[place], longer.shorter) * self.words + longer.words
        below = np.searchsorted(self._pairs[place], pairs)
        different = np.bincount(below, minlength=len(level.words))
        within = np.bincount(below, longer.counts, minlength=len(level.words)).astype(np.int64)
        return different + level.counts - within  # where a story starts there is none longer

    def find(self, stream: Stream) -> np.ndarray:
        """Return the context neuron of every place at every level, -1 where there is none.

        Returns
        -------
        ndarray of int32, shape (levels, length)
        """
        found = np.full((len(self.names), len(stream.words)), -1, np.int32)
        for place, (names, there) in enumerate(contexts(stream, self.chains, self.classes)):
            known = self.names[place]
            at = np.minimum(np.searchsorted(known, names), len(known) - 1)
            hit = there & (known[at] == names) if len(known) else np.zeros(len(names), np.bool_)
            found[place, hit] = at[hit] + self._contexts[place]
        return found

    def synapses(self, stream: Stream, found: np.ndarray) -> np.ndarray:
        """Return the synapse from each context of a stream that was counted to its word.

        Parameters
        ----------
        stream : Stream
        found : ndarray of int32, shape (levels, length)
            Of `find`.

        Returns
        -------
        ndarray of int32, shape (levels, length)
            -1 where there is no context.

        Raises
        ------
        ValueError
            If a word follows a context after which it was never counted.
        """
        edges = np.full(found.shape, -1, np.int32)
        for place, pairs in enumerate(self._pairs):
            there = found[place] >= 0
            own = (found[place][there] - self._contexts[place]) * np.int64(self.words)
            wanted = own + stream.words[there]
            at = np.searchsorted(pairs, wanted)
            if not np.array_equal(pairs[np.minimum(at, len(pairs) - 1)], wanted):
                raise ValueError("a story was not counted; allowed: those of `StoryModel.counted`")
            edges[place, there] = at + self._synapses[place]
        return edges


def _numbered(names: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return each of ascending names once, and at which of them every one stands."""
    new = np.ones(len(names), np.bool_)
    new[1:] = names[1:] != names[:-1]
    return names[new], np.cumsum(new) - 1


def discounts_of(counts: np.ndarray) -> np.ndarray:
    """Return what is taken from counts of 0, 1, 2, and 3 or more (Chen and Goodman, 1998).

    Examples
    --------
    >>> discounts_of(np.array([1, 1, 1, 1, 2, 2, 3, 4])).tolist()
    [0.0, 0.5, 1.25, 1.0]
    """
    first, second, third, fourth = np.bincount(np.minimum(counts, 5), minlength=6)[1:5].tolist()
    if min(first, second, third) == 0:
        return np.array([0.0, *FALLBACK])
    share = first / (first + 2 * second)
    ratios = np.array([second / first, third / second, fourth / third])
    found = np.array([1, 2, 3]) - np.array([2, 3, 4]) * share * ratios
    return np.array([0.0, *(found if (found >= 0).all() else FALLBACK)])
