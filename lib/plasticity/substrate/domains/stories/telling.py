"""What a model of stories says: continuations of a prompt, and guesses of a word left out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from plasticity.substrate.domains.stories.text import END, UNKNOWN, Stream, Vocabulary, words_of

LEFT = 5  # words that have to stand before a word to guess


class Teller(Protocol):
    """A model that gives the probability of every word at places of a stream."""

    vocabulary: Vocabulary

    def probabilities(self, stream: Stream, places: Sequence[int]) -> np.ndarray:
        """Return probabilities, shape (places, words)."""


@dataclass(frozen=True)
class Manner:
    """How words are drawn; the defaults are neuron-graph's.

    Parameters
    ----------
    length : int
        Words at most.
    temperature : float
        Above 0; probabilities are raised to its inverse.
    share : float
        The most likely words that have this share together are drawn from (nucleus sampling).
    repetition : float
        The logarithm of a word said before is multiplied by it, which makes it less likely.
    """

    length: int = 20
    temperature: float = 0.7
    share: float = 0.9
    repetition: float = 1.3

    def choose(self, shares: np.ndarray, said: Sequence[int], random: np.random.Generator) -> int:
        """Draw a word; no three words in a row are said twice, and no unknown word."""
        logs = np.log(np.maximum(shares, 1e-30))
        logs[np.unique(said)] *= self.repetition
        logs[UNKNOWN] = -np.inf
        for earlier in range(len(said) - 2):
            if tuple(said[earlier : earlier + 2]) == tuple(said[-2:]):
                logs[said[earlier + 2]] = -np.inf
        weights = np.exp((logs - logs.max()) / self.temperature)
        order = np.argsort(-weights, kind="stable")
        ordered = weights[order] / weights.sum()
        kept = order[: 1 + np.count_nonzero(np.cumsum(ordered) < self.share)]
        return int(random.choice(kept, p=weights[kept] / weights[kept].sum()))


def tell(
    model: Teller, prompt: str, random: np.random.Generator, manner: Manner = Manner()
) -> list[str]:
    """Continue a prompt until the story ends or is long enough.

    Parameters
    ----------
    model : Teller
    prompt : str
        One word or more.
    random : Generator
    manner : Manner

    Returns
    -------
    list of str
        The words said, without the prompt.

    Raises
    ------
    ValueError
        For a prompt without words.
    """
    said = model.vocabulary.numbers(words_of(prompt)).tolist()
    if not said:
        raise ValueError(f"prompt is {prompt!r}; allowed: a text with a word or more")
    first = len(said)
    while len(said) < first + manner.length:
        stream = Stream.of([np.array(said)])
        [shares] = model.probabilities(stream, [len(said) + 1])
        word = manner.choose(shares.astype(float), said, random)
        if word == END:
            break
        said.append(word)
    return [model.vocabulary.words[word] for word in said[first:]]


def cloze(model: Teller, stream: Stream, random: np.random.Generator, count: int) -> np.ndarray:
    """Have words guessed from all that stands before them in their story.

    Parameters
    ----------
    model : Teller
    stream : Stream
    random : Generator
        Draws the words, each with `LEFT` words before it or more.
    count : int
        How many, at most as many as there are.

    Returns
    -------
    ndarray of int64, shape (words asked,)
        Rank of the right word, 1 for the most likely; of equally likely ones the middle.
    """
    able = np.flatnonzero((stream.places > LEFT) & (stream.words != END))
    places = np.sort(random.permutation(able)[:count])
    shares = model.probabilities(stream, places)
    own = shares[np.arange(len(places)), stream.words[places]][:, None]
    above, equal = (shares > own).sum(axis=1), (shares == own).sum(axis=1)
    return above + (equal + 1) // 2
