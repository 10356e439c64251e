"""The story model: counted once, mixed by weights that it learns by judging its own stories."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from plasticity.substrate.domains.stories import kernels
from plasticity.substrate.domains.stories.circuit import NEVER, Circuit
from plasticity.substrate.domains.stories.classes import classes_of
from plasticity.substrate.domains.stories.counts import Chain, Counts
from plasticity.substrate.domains.stories.kernels import Weights
from plasticity.substrate.domains.stories.states import KINDS, number_of_states, states_of
from plasticity.substrate.domains.stories.text import Stream, Vocabulary

WORDS = Chain((1, 2, 3, 4, 5))
SKIPS = (Chain((2, 3, 4)), Chain((1, 3, 4)), Chain((1, 2, 4, 5)))
CLASSES = (
    Chain((1, 2, 3, 4, 5, 6, 7), 20),
    Chain((1, 2, 3, 4, 5), 60),
    Chain((1, 2, 3, 4), 250),
)
WEAKEST = 0.02  # weaker synapses of states vanish once learning ends
NOTHING = np.zeros((0, 0), np.int32)


@dataclass(frozen=True)
class Parts:
    """What a model is made of.

    Parameters
    ----------
    chains : tuple of Chain
        What contexts are made of; the first chain has to be of words and start at place 1.
    memory : bool
        Whether working memory speaks.
    states : tuple of str
        Kinds of states that speak, of `states.KINDS`.
    rates : tuple of two floats
        Learning rates of single weights and of the states' synapses, at the first story; they
        fall evenly to 0.

    Raises
    ------
    ValueError
        For kinds that do not exist, or rates below 0.
    """

    chains: tuple[Chain, ...] = (WORDS, *SKIPS, *CLASSES)
    memory: bool = True
    states: tuple[str, ...] = KINDS
    rates: tuple[float, float] = (1.2, 0.5)

    def __post_init__(self):
        """Check kinds and rates."""
        for kind in self.states:
            if kind not in KINDS:
                raise ValueError(f"a kind of state is {kind!r}; allowed: {', '.join(KINDS)}")
        if min(self.rates) < 0:
            raise ValueError(f"rates are {self.rates}; allowed: 0 or more")


class StoryModel:
    """What follows a place in a story, from counts of other stories and from the story itself.

    Parameters
    ----------
    counts : Counts
        Along the chains of its parts.
    vocabulary : Vocabulary
    parts : Parts
    classes : mapping of int to ndarray of int32, shape (words,), optional
        The class of every word, by number of classes, with which they were counted.

    Attributes
    ----------
    circuit : Circuit
    weights : kernels.Weights
        As if nothing but the first chain spoke, until `learn`: modified Kneser-Ney smoothing.

    Examples
    --------
    >>> vocabulary = Vocabulary.of([["the", "cat", "sat"], ["the", "cat", "ran"]])
    >>> stories = [vocabulary.numbers(["the", "cat"]) for _ in range(3)]
    >>> model = StoryModel.counted(Stream.of(stories), vocabulary)
    >>> logs = model.learn(Stream.of(stories))
    >>> bool(model.perplexity(Stream.of(stories)) < 1.5)
    True
    """

    def __init__(
        self,
        counts: Counts,
        vocabulary: Vocabulary,
        parts: Parts = Parts(),
        classes: Mapping[int, np.ndarray] | None = None,
    ):
        self.vocabulary, self.parts = vocabulary, parts
        self.circuit = Circuit(counts, len(vocabulary), classes)
        chains, words = len(parts.chains), len(vocabulary)
        lengths = 1 + max(len(chain.places) for chain in parts.chains)
        frequencies = kernels.FREQUENCIES
        shapes = (
            (1,),
            (lengths * kernels.SIZES, chains),
            (chains, lengths, kernels.SIZES),
            (kernels.TIMES, kernels.AGES, frequencies),
            (words, kernels.TIMES),
            (kernels.LONGEST, kernels.TIMES, kernels.RIVALS, frequencies),
        )
        states = (number_of_states(vocabulary, parts.states), words)
        self.weights, self._squares = (
            Weights(*map(np.zeros, shapes), np.zeros(states, np.float32)) for _ in range(2)
        )
        self.weights.base[:] = 1
        self.weights.lengths[0] = 1

    @classmethod
    def counted(cls, stream: Stream, vocabulary: Vocabulary, parts: Parts = Parts()):
        """Return the model of the counts of stories, with classes of words found in them."""
        sizes = sorted({chain.classes for chain in parts.chains} - {0})
        classes = {size: classes_of(stream, len(vocabulary), size) for size in sizes}
        return cls(Counts.of(stream, parts.chains, classes), vocabulary, parts, classes)

    @property
    def size(self) -> dict[str, float]:
        """Neurons, synapses, and megabytes at 64 and 16 bytes each, as a `Brain` holds them."""
        columns = self.circuit.columns
        neurons = len(columns.totals) + len(self.vocabulary) + len(self.weights.states)
        learnt = [np.count_nonzero(part) for part in self.weights]
        synapses = len(columns.targets) + sum(learnt)
        megabytes = (64 * neurons + 16 * synapses) / 1e6
        return {"neurons": neurons, "synapses": synapses, "megabytes": megabytes}

    def learn(self, stream: Stream, order: np.ndarray | None = None) -> np.ndarray:
        """Learn the weights from stories that were counted, each taken back while it is read.

        Parameters
        ----------
        stream : Stream
            Every story of it has been counted.
        order : ndarray of int, optional
            Which stories, in which order, repeats allowed; all, as they stand, unless given.

        Returns
        -------
        ndarray of float64, shape (length,)
            Logarithms of the probabilities that each word had before it was learnt; 0 elsewhere.

        Raises
        ------
        ValueError
            If a story was not counted, or the order names one that is not there.
        """
        found = self._find(stream)
        edges = self.circuit.synapses(stream, found)
        count = len(stream.starts) - 1
        order = np.arange(count) if order is None else _within("order", order, count)
        logs, _ = self._read(stream, found, order, self.parts.rates, edges)
        states = self.weights.states
        states[np.abs(states) < WEAKEST] = 0
        return logs

    def log_probabilities(self, stream: Stream, threads: int = 1) -> np.ndarray:
        """Return the natural logarithm of the probability of each place's word; 0 at beginnings.

        Parameters
        ----------
        stream : Stream
            Stories that were not counted.
        threads : int
            Change speed, never results.

        Returns
        -------
        ndarray of float64, shape (length,)

        Raises
        ------
        ValueError
            If a word is not of the vocabulary.
        """
        order = np.arange(len(stream.starts) - 1)
        return self._read(stream, self._find(stream), order, threads=threads)[0]

    def probabilities(self, stream: Stream, places: Sequence[int]) -> np.ndarray:
        """Return the probability of every word at some places of a stream.

        Returns
        -------
        ndarray of float32, shape (places, words)

        Raises
        ------
        ValueError
            If a place is not of the stream.
        """
        order = np.arange(len(stream.starts) - 1)
        places = _within("places", places, len(stream.words))
        once, again = np.unique(places, return_inverse=True)
        return self._read(stream, self._find(stream), order, places=once)[1][again]

    def perplexity(self, stream: Stream) -> float:
        """Return the perplexity of the words and ends of stories."""
        return float(np.exp(-self.log_probabilities(stream)[stream.scored].mean()))

    def _find(self, stream: Stream) -> np.ndarray:
        """Return the contexts of a stream whose words are all of the vocabulary."""
        _within("a word's number", stream.words, len(self.vocabulary))
        return self.circuit.find(stream)

    def _read(self, stream, found, order, rates=(0.0, 0.0), edges=NOTHING, places=(), threads=1):
        logs = np.zeros(len(stream.words))
        rows = np.full(len(stream.words), -1)
        rows[np.asarray(places, int)] = np.arange(len(places))
        shares = np.zeros((len(places), len(self.vocabulary)), np.float32)
        states = states_of(stream, self.vocabulary, self.parts.states)
        arguments = (
            (stream.words, stream.starts, found, states),
            order.astype(np.int64),
            self.circuit.columns,
            self.circuit.ends,
            np.array(NEVER),
            (self.weights, self._squares, self.parts.memory),
            (rates, edges),
            (logs, rows, shares),
        )
        with ThreadPoolExecutor(threads) as pool:  # list: an error in a part is raised here
            list(pool.map(lambda part: kernels.read(part, threads, *arguments), range(threads)))
        return logs, shares


def _within(name: str, numbers: Sequence[int], count: int) -> np.ndarray:
    """Return whole numbers, which have to be 0 or more and below a count."""
    found = np.asarray(numbers, np.int64)
    outside = found[(found < 0) | (found >= count)]
    if len(outside):
        raise ValueError(f"{name} is {outside[0]}; allowed: 0 to {count - 1}")
    return found
