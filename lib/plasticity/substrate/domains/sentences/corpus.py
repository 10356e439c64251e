"""Sentences to learn: twenty of our own of one shape, and real ones cut out of running text."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

Sentence = tuple[str, ...]

SHAPE = ("DET", "ADJ", "ADJ", "NOUN", "VERB", "PREP", "DET", "ADJ", "NOUN")
"""Class of each word in the twenty sentences, the source's shape."""
PROMPT = 3
"""Words given; the rest is to be said."""
END = "."
"""Stands for the mark that ends a sentence, whichever it was."""

# Written so that words are shared: no word but a few names its sentence, no two prompts are alike.
TWENTY: tuple[Sentence, ...] = tuple(
    tuple(line.split())
    for line in """\
the small grey cat sleeps under the old table
a small white cat hides behind the tall clock
the big grey dog waits near the old gate
a big white horse stands behind the tall fence
the old brown horse runs past a small house
a young brown dog jumps over the small stream
the young white goat climbs onto a tall rock
a quick grey mouse hides under the big table
the quick red fox runs past the old barn
a small red bird sings above the tall house
the big black crow sits above a red barn
a young black cat jumps onto the warm table
the old grey goose walks past the cold stream
a quiet brown owl waits above the dark barn
the quiet white swan swims across a cold lake
a quick green frog jumps into the cold stream
the small green snake sleeps behind a warm rock
a big brown bear swims across the dark lake
the quiet black horse stands near a dark gate
a tired grey dog sleeps near the warm fire""".splitlines()
)

_ENDS = re.compile(r"(?<=[.!?])\s+")
_PLAIN = re.compile(r"[A-Z][A-Za-z', ]*[.!?]")


def find_sentences(text: str, shortest: int = 6, longest: int = 16) -> list[Sentence]:
    """Cut the plain sentences out of a text.

    Left out are those with quotes, figures, dashes or semicolons: where they begin and end is a
    question of its own.

    Parameters
    ----------
    text : str
    shortest, longest : int
        Fewest and most words of a sentence.

    Returns
    -------
    list of tuple of str
        Lower-case words without commas, then `END`.

    Examples
    --------
    >>> find_sentences("She ran, and he ran too. Why? 3 dogs.", shortest=2)
    [('she', 'ran', 'and', 'he', 'ran', 'too', '.')]
    """
    found = []
    for piece in _ENDS.split(" ".join(text.split())):
        if _PLAIN.fullmatch(piece):
            words = piece[:-1].replace(",", " ").lower().split()
            if shortest <= len(words) <= longest and not any(w.strip("'") != w for w in words):
                found.append((*words, END))
    return found


def draw(
    texts: Iterable[str], count: int, generator: np.random.Generator
) -> tuple[list[Sentence], list[Sentence]]:
    """Draw different sentences at random, and return the others too.

    Parameters
    ----------
    texts : iterable of str
    count : int
        At least 1.
    generator : numpy.random.Generator

    Returns
    -------
    drawn, rest : list of tuple of str
        No sentence occurs twice.

    Raises
    ------
    ValueError
        If there are too few different sentences.

    Examples
    --------
    >>> text = "The dog ran to the old house. The cat sat on the old roof."
    >>> drawn, rest = draw([text], 1, np.random.default_rng(0))
    >>> len(drawn), len(rest)
    (1, 1)
    """
    every = list(dict.fromkeys(s for text in texts for s in find_sentences(text)))
    if len(every) < count:
        raise ValueError(
            f"count is {count}; the texts hold {len(every)} different plain sentences: ask for "
            "fewer, or give more text"
        )
    order = generator.permutation(len(every))
    return [every[i] for i in order[:count]], [every[i] for i in order[count:]]


def sharing(sentences: Sequence[Sentence]) -> np.ndarray:
    """Return how many of the sentences begin with each one's prompt, itself counted.

    Parameters
    ----------
    sentences : sequence of tuple of str

    Returns
    -------
    ndarray of int64, shape (sentences,)
        1 where the prompt is unambiguous.

    Examples
    --------
    >>> sharing([("a", "b", "c", "d"), ("a", "b", "c", "e"), ("a", "b", "d", "e")])
    array([2, 2, 1])
    """
    counts = Counter(sentence[:PROMPT] for sentence in sentences)
    return np.array([counts[sentence[:PROMPT]] for sentence in sentences], np.int64)


def classes(
    sentences: Iterable[Sentence], shape: Sequence[str] = SHAPE
) -> dict[str, tuple[str, ...]]:
    """Return the words of each part of speech, in alphabetical order.

    Parameters
    ----------
    sentences : iterable of tuple of str
        Each as long as the shape.
    shape : sequence of str

    Raises
    ------
    ValueError
        If a sentence has another length.

    Examples
    --------
    >>> classes(TWENTY)["DET"]
    ('a', 'the')
    """
    found: dict[str, set[str]] = {}
    for sentence in sentences:
        if len(sentence) != len(shape):
            raise ValueError(
                f"sentence {' '.join(sentence)!r} has {len(sentence)} words; allowed: {len(shape)}"
            )
        for word, kind in zip(sentence, shape, strict=True):
            found.setdefault(kind, set()).add(word)
    return {kind: tuple(sorted(words)) for kind, words in found.items()}
