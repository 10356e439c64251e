"""Stories as numbers: cutting text into words, the vocabulary, and the stream of all stories."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

PAD, UNKNOWN, BEGIN, END = range(4)
SPECIALS = ("<pad>", "<unk>", "<bos>", "<eos>")
FEWEST = 2  # a word that occurs less often is unknown
_WORD = re.compile(r"\w+|[^\w\s]")


def words_of(story: str | bytes) -> list[str]:
    """Cut a story into lower-case words and single marks.

    Parameters
    ----------
    story : str or bytes
        Bytes are read as UTF-8.

    Returns
    -------
    list of str

    Raises
    ------
    TypeError
        If the story is no text.
    ValueError
        If bytes are not UTF-8.

    Examples
    --------
    >>> words_of("Lily's cat!")
    ['lily', "'", 's', 'cat', '!']
    """
    if isinstance(story, bytes):
        try:
            story = story.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"a story is not UTF-8: byte {error.start} is {story[error.start]:#04x}; decode it "
                "with its own encoding first"
            ) from error
    if not isinstance(story, str):
        raise TypeError(f"a story is {story!r}; allowed: str or bytes")
    return _WORD.findall(story.lower())


class Vocabulary:
    """The words that are told apart; every other word is one and the same, the unknown one.

    Parameters
    ----------
    words : sequence of str
        The four specials first, in the order of `SPECIALS`; no word twice.

    Raises
    ------
    ValueError
        If the specials are not first, or a word stands there twice.

    Examples
    --------
    >>> vocabulary = Vocabulary.of([["a", "cat", "a", "cat"], ["a", "dog"]], 6)
    >>> vocabulary.words[4:], vocabulary.numbers(["a", "dog"]).tolist()
    (('a', 'cat'), [4, 1])
    """

    def __init__(self, words: Sequence[str]):
        self.words = tuple(words)
        if self.words[: len(SPECIALS)] != SPECIALS:
            raise ValueError(f"words start with {self.words[:4]}; allowed: {SPECIALS} first")
        self._places = {word: place for place, word in enumerate(self.words)}
        if len(self._places) < len(self.words):
            [(word, times)] = Counter(self.words).most_common(1)
            raise ValueError(f"words holds {word!r} {times} times; allowed: each once")

    def __len__(self) -> int:
        return len(self.words)

    @classmethod
    def of(cls, stories: Iterable[Sequence[str]], size: int | None = None) -> "Vocabulary":
        """Return the most frequent words of stories; of equally frequent ones the first met.

        Parameters
        ----------
        stories : iterable of sequence of str
        size : int, optional
            How many, the four specials included; every word that occurs twice unless given.

        Raises
        ------
        ValueError
            If there are no words, none occurs twice, or there are fewer than the size asks for.
        TypeError
            If a story is not cut into words.
        """
        counts = Counter()
        for story in stories:
            if isinstance(story, str):
                raise TypeError(f"a story is the text {story!r}; allowed: its words, of `words_of`")
            counts.update(story)
        if not counts:
            raise ValueError("the stories have no words; allowed: one word or more")
        known = [word for word, count in counts.most_common() if count >= FEWEST]
        if not known:
            raise ValueError(f"no word occurs {FEWEST} times; allowed: stories where one does")
        most = len(known) + len(SPECIALS)
        size = most if size is None else size
        if not len(SPECIALS) < size <= most:
            raise ValueError(
                f"size is {size}; allowed: {len(SPECIALS) + 1} to {most}, the words that occur "
                f"{FEWEST} times or more in these stories, and the {len(SPECIALS)} specials"
            )
        return cls([*SPECIALS, *known[: size - len(SPECIALS)]])

    def numbers(self, words: Iterable[str]) -> np.ndarray:
        """Return the number of each word, int32, that of the unknown word where it is not known."""
        return np.array([self._places.get(word, UNKNOWN) for word in words], np.int32)


@dataclass(frozen=True)
class Stream:
    """All stories in a row, each between the marks that begin and end it.

    Attributes
    ----------
    words : ndarray of int32, shape (length,)
    places : ndarray of int32, shape (length,)
        Of each word in its story, 0 for the mark that begins it.
    starts : ndarray of int64, shape (stories + 1,)
        Where the stories start, and the length.
    """

    words: np.ndarray
    places: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, stories: Sequence[np.ndarray]) -> "Stream":
        """Join stories given as numbers of words.

        Raises
        ------
        ValueError
            If there are none, or one holds a mark: `PAD`, `BEGIN`, `END`.
        TypeError
            If one holds anything but whole numbers.

        Examples
        --------
        >>> Stream.of([np.array([7, 8]), np.array([9])]).words.tolist()
        [2, 7, 8, 3, 2, 9, 3]
        """
        if not len(stories):
            raise ValueError("stories is empty; allowed: one story or more")
        lengths = np.array([len(story) + 2 for story in stories])
        starts = np.concatenate([[0], np.cumsum(lengths)])
        words = np.empty(starts[-1], np.int32)
        for story, start in zip(stories, starts[:-1], strict=True):
            if len(story) and np.asarray(story).dtype.kind not in "iu":
                raise TypeError(
                    f"a story holds {story[0]!r}; allowed: numbers of words, whole ones"
                )
            words[start] = BEGIN
            words[start + 1 : start + 1 + len(story)] = story
        words[starts[1:] - 1] = END
        if np.isin(words, (PAD, BEGIN, END)).sum() > 2 * len(stories):
            raise ValueError(f"a story holds a mark; allowed: no {SPECIALS[0]}, <bos>, <eos>")
        places = np.arange(starts[-1]) - np.repeat(starts[:-1], lengths)
        return cls(words, places.astype(np.int32), starts)

    @property
    def scored(self) -> np.ndarray:
        """Where a word or an end stands, and not the mark that begins a story."""
        return self.places > 0
