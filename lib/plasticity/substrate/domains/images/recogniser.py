"""A graph that recognises pictures: pixels, filters at every place, contexts, classes."""

from collections.abc import Sequence

import numpy as np

from plasticity.substrate import Brain, Emission
from plasticity.substrate.domains.images.encoder import ImageEncoder
from plasticity.substrate.domains.images.filters import WHOLE, Bank
from plasticity.substrate.learning import softmax_error

ALWAYS = -1e30  # a threshold that every score exceeds
MOST_CONTEXTS = 1 << 16
BANKS = (Bank(7), Bank(5))


class ImageRecogniser:
    """Names pictures by what their filters say in each block of the grid.

    A pixel emits its grey level to the filters of every place that covers it; a filter emits when
    its input is above 0. The filters that emit at one place, together, are a code; a code in a
    block is a neuron, a **context**, and emits 1 if it occurs there. Contexts vote for classes.
    Filters are given whole weights once they are learnt; only the votes learn labels, each by the
    error at the class that it leads to.

    Parameters
    ----------
    classes : sequence of str
        Names of the classes, two or more.
    filters : sequence of ndarray of float32, shape (filters, size, size)
        Whole numbers from -127 to 127, for each bank.
    banks : sequence of Bank
    encoder : ImageEncoder
    learning_rate : float
        Of the votes.
    seed : int
        Of the brain.

    Raises
    ------
    ValueError
        If there are too few classes or too many contexts, or filters do not fit their bank.

    Examples
    --------
    >>> bars = np.zeros((2, 8, 8))
    >>> bars[0, 3:5], bars[1, :, 3:5] = 1, 1
    >>> edge = np.array([[[-1, -1], [1, 1]], [[-1, 1], [-1, 1]]], np.float32)
    >>> eye = ImageEncoder(side=8, upright=False)
    >>> graph = ImageRecogniser(["flat", "upright"], [edge], [Bank(2, 2, 2)], eye)
    >>> for _ in range(10):
    ...     graph.learn(bars[0], 0)
    ...     graph.learn(bars[1], 1)
    >>> graph.predict(bars[0]), graph.predict(bars[1])
    (0, 1)
    """

    def __init__(
        self,
        classes: Sequence[str],
        filters: Sequence[np.ndarray],
        banks: Sequence[Bank] = BANKS,
        encoder: ImageEncoder | None = None,
        learning_rate: float = 0.01,
        seed: int = 0,
    ):
        self.encoder, self.banks = encoder or ImageEncoder(), tuple(banks)
        self.filters = [np.asarray(bank, np.float32) for bank in filters]
        contexts = _checked(classes, self.filters, self.banks)
        brain = Brain(seed=seed)
        brain.group("classes", winners=1)
        brain.relation("sees", rule="static")
        brain.relation("votes", rule="delta", learning_rate=learning_rate)
        self.pixels = brain.grow(self.encoder.side**2)
        self.responses = [self._wire(brain, *one) for one in zip(banks, self.filters, strict=True)]
        self.contexts = brain.grow(contexts)
        self.classes = brain.neurons(list(classes), group="classes", threshold=ALWAYS)
        brain.connect(self.contexts[:, None], self.classes, 0.0, "votes")
        brain.consolidate()
        self.members = [bank.members(self.encoder.side) for bank in self.banks]
        self.brain = brain

    def _wire(self, brain: Brain, bank: Bank, filters: np.ndarray) -> np.ndarray:
        """Grow filters at every place and lead the pixels of the place to them."""
        side, places = self.encoder.side, bank.positions(self.encoder.side)
        grown = brain.grow(places**2 * bank.filters).reshape(places, places, bank.filters)
        pixels = self.pixels.reshape(side, side)
        for row in range(bank.size):
            for column in range(bank.size):
                covered = pixels[row : row + places, column : column + places]
                brain.connect(covered[..., None], grown, filters[:, row, column], "sees")
        brain.consolidate()
        return grown

    def active(self, grid: np.ndarray, trace: bool = False) -> np.ndarray:
        """Return the contexts that a grid makes emit: their places among all, ascending.

        Parameters
        ----------
        grid : ndarray of uint8, shape (side, side)
            As the encoder gives it.
        trace : bool
            Keep every delivery, so that `explain` of the brain knows the filters.
        """
        levels = grid.ravel()
        seen = np.flatnonzero(levels)
        emission = self.brain.spread(
            self.pixels[seen], levels[seen], relations=["sees"], trace=trace
        )
        found, first = [], 0
        for bank, grown, members in zip(self.banks, self.responses, self.members, strict=True):
            codes = _codes(emission.neurons, grown)
            for blocks in _crossed(members):
                place = first + ((blocks << bank.filters) + codes)
                found.append(place[(blocks >= 0) & (codes > 0)])
            first += bank.contexts
        return np.unique(np.concatenate(found))

    def spread(self, image: np.ndarray, trace: bool = False) -> Emission:
        """Let a picture spread to the classes.

        Parameters
        ----------
        image : ndarray, shape (rows, columns)
            What the encoder takes.
        trace : bool
            Keep every delivery of the votes, for `explain` of the brain.

        Returns
        -------
        Emission
            Of the contexts' votes; it ends in the class.
        """
        return self.vote(self._seen(image), trace)

    def scores(self, emission: Emission) -> np.ndarray:
        """Return the score of each class after a spread, float32, shape (classes,)."""
        return emission.activation(self.classes)

    def predict(self, image: np.ndarray) -> int:
        """Return the class of a picture; of equal scores the first, as for a picture of nothing."""
        return int(np.argmax(self.scores(self.spread(image))))

    def learn(self, image: np.ndarray, label: int) -> None:
        """Learn the class of one picture, by the softmax error of the classes.

        Raises
        ------
        ValueError
            If there is no such class.
        """
        check_labels(np.array([label]), len(self.classes))
        active = self._seen(image)
        error = softmax_error(self.scores(self.vote(active)), label)
        self.brain.learn_rows(self.contexts[active], 1.0, self.classes, error, "votes")

    def votes(self) -> np.ndarray:
        """Return the weight from every context to every class, float32, (contexts, classes)."""
        found = self.brain.weights(self.contexts[:, None], self.classes[None], "votes")
        return found.reshape(len(self.contexts), len(self.classes))

    def set_votes(self, votes: np.ndarray) -> None:
        """Set the weight from every context to every class."""
        self.brain.connect(self.contexts[:, None], self.classes, votes, "votes")

    def describe(self, context: int) -> tuple[Bank, int, int, int]:
        """Return what a context stands for: its bank, row and column of the block, and code."""
        for bank in self.banks:
            if context < bank.contexts:
                block, code = context >> bank.filters, context & ((1 << bank.filters) - 1)
                return bank, block // bank.blocks, block % bank.blocks, code
            context -= bank.contexts
        raise IndexError(f"context is {context} beyond the last, {len(self.contexts) - 1}")

    def vote(self, active: np.ndarray, trace: bool = False) -> Emission:
        """Let contexts, given by their places among all, spread to the classes."""
        return self.brain.spread(self.contexts[active], 1.0, relations=["votes"], trace=trace)

    def _seen(self, image: np.ndarray) -> np.ndarray:
        return self.active(self.encoder(np.asarray(image)[None])[0])


def whole_votes(votes: np.ndarray, clip: float = 1.0) -> np.ndarray:
    """Return votes as whole numbers of one byte.

    Parameters
    ----------
    votes : ndarray of float32
    clip : float
        The largest vote, as a share of the largest absolute one, above 0 and up to 1: what is
        beyond it is cut off, and the others are rounded less.

    Returns
    -------
    ndarray of int8
        -127 to 127.

    Examples
    --------
    >>> whole_votes(np.array([0.1, -0.5, 1.0]), clip=0.5)
    array([  25, -127,  127], dtype=int8)
    """
    if not 0 < clip <= 1:
        raise ValueError(f"clip is {clip}; allowed: above 0 and up to 1")
    largest = clip * float(np.abs(votes).max(initial=0)) or 1.0
    return np.rint(votes * (WHOLE / largest)).clip(-WHOLE, WHOLE).astype(np.int8)


def check_labels(labels: np.ndarray, classes: int) -> None:
    """Raise unless labels are whole numbers from 0 to the number of classes.

    Raises
    ------
    ValueError, TypeError
    """
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels are {labels.dtype}; allowed: whole numbers")
    wrong = labels[(labels < 0) | (labels >= classes)]
    if len(wrong):
        raise ValueError(f"labels hold {wrong[0]}; allowed: 0 to {classes - 1}")


def _checked(classes: Sequence[str], filters: Sequence[np.ndarray], banks: Sequence[Bank]) -> int:
    """Return the number of contexts; raise where the parts do not fit."""
    if len(set(classes)) < max(2, len(classes)):
        raise ValueError(f"classes are {list(classes)}; allowed: two or more, each once")
    for bank, own in zip(banks, filters, strict=True):
        if own.shape != (bank.filters, bank.size, bank.size):
            raise ValueError(
                f"filters have shape {own.shape}; allowed: ({bank.filters}, {bank.size}, "
                f"{bank.size}), those of {bank}"
            )
        if (own != np.rint(own)).any() or np.abs(own).max() > WHOLE:
            raise ValueError(f"filters are not whole; allowed: whole numbers up to {WHOLE}")
    contexts = sum(bank.contexts for bank in banks)
    if not 0 < contexts <= MOST_CONTEXTS:
        raise ValueError(f"banks have {contexts:,} contexts; allowed: 1 to {MOST_CONTEXTS:,}")
    return contexts


def _codes(emitting: np.ndarray, grown: np.ndarray) -> np.ndarray:
    """Return the code of each place: one bit for each of its filters that emitted."""
    first = int(grown.flat[0])
    own = emitting[(emitting >= first) & (emitting < first + grown.size)]
    fired = np.zeros(grown.shape, np.int64)
    fired.flat[own - np.uint32(first)] = 1
    return (fired << np.arange(grown.shape[2])).sum(axis=2)


def _crossed(members: np.ndarray) -> list[np.ndarray]:
    """Return the blocks of each place, -1 for none, as arrays (places, places)."""
    count, axis = members.max() + 1, range(members.shape[1])
    pairs = ((members[:, a][:, None], members[:, b][None]) for a in axis for b in axis)
    return [np.where((row >= 0) & (column >= 0), row * count + column, -1) for row, column in pairs]
