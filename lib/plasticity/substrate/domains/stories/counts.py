"""What was counted: how often which word followed which context.

A context is some of the words before a place, named by a 64-bit hash of its chain and its words.
A chain says how far back its contexts look, from the nearest word on: 1, 2, 3 gives contexts of
one, two and three words, 2, 3 passes over the word just before. Contexts may be of classes of words
instead. Counts of stories met apart add up to exactly the counts of all of them, whichever way they
are parted.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from plasticity.substrate.domains.stories.text import Stream


@dataclass(frozen=True, order=True)
class Chain:
    """What contexts are made of.

    Parameters
    ----------
    places : tuple of int
        How many words back, each once, 1 or more; the shortest context has only the first of them.
    classes : int
        Number of classes of the words that are looked at; 0 for the words themselves.

    Raises
    ------
    ValueError
        If there is no place, one is repeated, or one lies ahead.
    """

    places: tuple[int, ...]
    classes: int = 0

    def __post_init__(self):
        """Check the places."""
        places = self.places
        if not places or min(places) < 1 or len(set(places)) < len(places):
            raise ValueError(f"places are {places}; allowed: different numbers, 1 or more")


# Constants of SplitMix64 (Steele, Lea and Flood, 2014).
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_STEP = np.uint64(0x9E3779B97F4A7C15)
_SHIFT_1, _SHIFT_2, _SHIFT_3 = np.uint64(30), np.uint64(27), np.uint64(31)


def contexts(
    stream: Stream, chains: Sequence[Chain], classes: Mapping[int, np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Name the context of every place, for each chain from its shortest contexts to its longest.

    Parameters
    ----------
    stream : Stream
    chains : sequence of Chain
    classes : mapping of int to ndarray of int32, shape (words,)
        The class of every word, by number of classes.

    Yields
    ------
    names : ndarray of uint64, shape (length,)
    there : ndarray of bool, shape (length,)
        False where the context would reach over the start of its story.
    """
    for number, chain in enumerate(chains, 1):
        name = np.full(len(stream.words), _mixed(np.array([number], np.uint64) * _STEP)[0])
        words = classes[chain.classes][stream.words] if chain.classes else stream.words
        for level, back in enumerate(chain.places, 1):
            word = np.zeros(len(words), np.uint64)
            word[back:] = words[:-back]
            name = _mixed(name * _STEP + word + np.uint64(1))
            yield name, stream.places >= max(chain.places[:level])


def _mixed(bits: np.ndarray) -> np.ndarray:
    bits = (bits ^ (bits >> _SHIFT_1)) * _MIX_1
    bits = (bits ^ (bits >> _SHIFT_2)) * _MIX_2
    return bits ^ (bits >> _SHIFT_3)


@dataclass(frozen=True)
class Level:
    """The counts of contexts of one length in one chain, sorted by context and word.

    Attributes
    ----------
    names : ndarray of uint64, shape (pairs,)
        Of the contexts.
    words : ndarray of int32, shape (pairs,)
        What followed.
    counts : ndarray of int32, shape (pairs,)
    shorter : ndarray of uint64, shape (pairs,)
        Names of the contexts without their farthest word; 0 where that leaves none.
    """

    names: np.ndarray
    words: np.ndarray
    counts: np.ndarray
    shorter: np.ndarray

    @classmethod
    def summed(cls, names, words, counts, shorter) -> "Level":
        """Return the level of pairs that may repeat."""
        _, ids = np.unique(names, return_inverse=True)
        pairs, first, inverse = np.unique(ids << 32 | words, return_index=True, return_inverse=True)
        total = np.bincount(inverse, counts, minlength=len(pairs)).astype(np.int32)
        return cls(names[first], words[first], total, shorter[first])


@dataclass(frozen=True)
class Counts:
    """The counts of some stories.

    Attributes
    ----------
    chains : tuple of Chain
    levels : tuple of Level
        Of each chain from its shortest contexts to its longest.
    maps : tuple of bytes
        The sha256 sums of the maps from words to classes that were looked through.

    Examples
    --------
    >>> stories = [np.array([4, 5, 4]), np.array([4, 5])]
    >>> chains = [Chain((1, 2))]
    >>> whole = Counts.of(Stream.of(stories), chains)
    >>> parts = [Counts.of(Stream.of([story]), chains) for story in stories]
    >>> merged = Counts.merged(parts)
    >>> all((a.counts == b.counts).all() for a, b in zip(whole.levels, merged.levels))
    True
    """

    chains: tuple[Chain, ...]
    levels: tuple[Level, ...]
    maps: tuple[bytes, ...] = ()

    @classmethod
    def of(
        cls,
        stream: Stream,
        chains: Sequence[Chain],
        classes: Mapping[int, np.ndarray] | None = None,
    ) -> "Counts":
        """Count every place of a stream once in each context.

        Parameters
        ----------
        stream : Stream
        chains : sequence of Chain
        classes : mapping of int to ndarray of int32, shape (words,), optional
            The class of every word, by number of classes; shards need the same.
        """
        levels, shorter = [], None
        firsts = np.cumsum([0, *(len(chain.places) for chain in chains)])
        for place, (names, there) in enumerate(contexts(stream, chains, classes or {})):
            below = np.zeros(len(names), np.uint64) if place in firsts else shorter
            parts = names[there], stream.words[there], np.ones(there.sum(), np.int32), below[there]
            levels.append(Level.summed(*parts))
            shorter = names
        used = sorted({chain.classes for chain in chains} - {0})
        maps = (np.ascontiguousarray(classes[size], np.int32) for size in used)
        return cls(tuple(chains), tuple(levels), tuple(sha256(one).digest() for one in maps))

    @classmethod
    def merged(cls, shards: Sequence["Counts"]) -> "Counts":
        """Add up the counts of stories that were met apart.

        Raises
        ------
        ValueError
            If they were counted along different chains, or with other classes of the words.
        """
        chains = {shard.chains for shard in shards}
        if len(chains) != 1:
            raise ValueError(f"chains are {sorted(chains)}; allowed: the same in every shard")
        if len(maps := {shard.maps for shard in shards}) != 1:
            raise ValueError(
                f"shards hold {len(maps)} maps from words to classes; allowed: one, made before "
                "the stories are parted"
            )
        columns = ("names", "words", "counts", "shorter")
        return cls(
            *chains,
            tuple(
                Level.summed(
                    *(np.concatenate([getattr(level, c) for level in levels]) for c in columns)
                )
                for levels in zip(*(shard.levels for shard in shards), strict=True)
            ),
            *maps,
        )
