"""What a place is like: where in the story and in the sentence it stands, and what is just before.

Each kind of state has neurons of its own, of which one is active at a place.
"""

import numpy as np

from plasticity.substrate.domains.stories.text import Stream, Vocabulary

SENTENCE_ENDS, QUOTE = (".", "!", "?"), '"'
POSITIONS = 20  # half powers of two into the story
LENGTHS = 20  # words into the sentence, within and outside of quotes
KINDS = ("position", "sentence", "word", "word_before")


def states_of(stream: Stream, vocabulary: Vocabulary, kinds: tuple[str, ...]) -> np.ndarray:
    """Return the active state of each kind at every place, -1 where there is none.

    Parameters
    ----------
    stream : Stream
    vocabulary : Vocabulary
    kinds : tuple of str
        Of `KINDS`.

    Returns
    -------
    ndarray of int32, shape (length, kinds)
        Numbers of states, those of one kind after those of another.
    """
    active = np.full((len(stream.words), len(kinds)), -1, np.int32)
    first = 0
    for column, kind in enumerate(kinds):
        size, found = _KINDS[kind](stream, vocabulary)
        active[:, column] = np.where(found >= 0, found + first, -1)
        first += size
    return active


def number_of_states(vocabulary: Vocabulary, kinds: tuple[str, ...]) -> int:
    """Return how many states all kinds have."""
    nothing = Stream.of([np.zeros(0, np.int32)])
    return sum(_KINDS[kind](nothing, vocabulary)[0] for kind in kinds)


def _position(stream: Stream, vocabulary: Vocabulary) -> tuple[int, np.ndarray]:
    powers = (2 * np.log2(stream.places + 1)).astype(int)
    return POSITIONS, np.minimum(powers, POSITIONS - 1)


def _sentence(stream: Stream, vocabulary: Vocabulary) -> tuple[int, np.ndarray]:
    """Return words since the sentence began, and whether a quotation is open."""
    starts_anew = np.isin(stream.words, vocabulary.numbers(SENTENCE_ENDS)) | (stream.places == 0)
    index = np.arange(len(stream.words))
    begun = np.maximum.accumulate(np.where(starts_anew, index, 0))
    before = np.concatenate([[0], begun[:-1]])
    length = np.minimum(index - before - 1, LENGTHS - 1).clip(0)
    quotes = np.cumsum(np.isin(stream.words, vocabulary.numbers([QUOTE])))
    quotes = np.concatenate([[0], quotes[:-1]])
    opened = quotes - quotes[index - stream.places]
    return 2 * LENGTHS, 2 * length + opened % 2


def _back(count: int):
    def word(stream: Stream, vocabulary: Vocabulary) -> tuple[int, np.ndarray]:
        words = np.full(len(stream.words), -1)
        words[count:] = stream.words[:-count]
        return len(vocabulary), np.where(stream.places >= count, words, -1)

    return word


_KINDS = dict(zip(KINDS, (_position, _sentence, _back(1), _back(2)), strict=True))
