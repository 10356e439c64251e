"""A graph that recognises pictures: pixels, filters at every place, contexts, classes."""

from collections.abc import Sequence

import numpy as np

from plasticity.substrate import Brain
from plasticity.substrate.domains.images.encoder import ImageEncoder
from plasticity.substrate.domains.images.filters import Bank
from plasticity.substrate.domains.images.voting import WHOLE, Voting

MOST_CONTEXTS = 1 << 16
BANKS = (Bank(7), Bank(5))
SEES = "sees"


class ImageRecogniser(Voting):
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
        self.filters = [np.ascontiguousarray(bank, np.float32) for bank in filters]
        contexts = _checked(self.filters, self.banks)
        self.members = [bank.members(self.encoder.side) for bank in self.banks]
        brain = Brain(seed=seed)
        brain.relation(SEES, rule="static")
        self.pixels = brain.grow(self.encoder.side**2)
        pairs = zip(self.banks, self.filters, strict=True)
        self.responses = [self._wire(brain, bank, own) for bank, own in pairs]
        super().__init__(brain, contexts, classes, "delta", learning_rate)

    def _wire(self, brain: Brain, bank: Bank, filters: np.ndarray) -> np.ndarray:
        """Grow filters at every place and lead the pixels of the place to them."""
        side, places = self.encoder.side, bank.positions(self.encoder.side)
        grown = brain.grow(places**2 * bank.filters).reshape(places, places, bank.filters)
        pixels = self.pixels.reshape(side, side)
        for row in range(bank.size):
            for column in range(bank.size):
                covered = pixels[row : row + places, column : column + places]
                brain.connect(covered[..., None], grown, filters[:, row, column], SEES)
        brain.consolidate()
        return grown

    def active(self, image: np.ndarray, trace: bool = False) -> np.ndarray:
        """Return the contexts that a picture makes emit: their places among all, ascending.

        Parameters
        ----------
        image : ndarray, shape (rows, columns)
            What the encoder takes.
        trace : bool
            Keep every delivery, so that `explain` of the brain knows the filters.
        """
        return self.active_in(self.encoder(np.asarray(image)[None])[0], trace)

    def active_in(self, grid: np.ndarray, trace: bool = False) -> np.ndarray:
        """Return the same for a picture as the encoder gives it, uint8, shape (side, side)."""
        levels = grid.ravel()
        seen = np.flatnonzero(levels)
        emission = self.brain.spread(self.pixels[seen], levels[seen], relations=[SEES], trace=trace)
        found, first = [], 0
        for bank, grown, members in zip(self.banks, self.responses, self.members, strict=True):
            codes = _codes(emission.neurons, grown)
            for blocks in _crossed(members):
                place = first + ((blocks << bank.filters) + codes)
                found.append(place[(blocks >= 0) & (codes > 0)])
            first += bank.contexts
        return np.unique(np.concatenate(found))

    def explain(self, image: np.ndarray, label: int, k: int = 5) -> list[tuple]:
        """Return the votes that a picture's contexts cast for a class, the largest first.

        Parameters
        ----------
        image : ndarray, shape (rows, columns)
        label : int
            Place of the class.
        k : int
            How many; 0 for all, which add up to the score.

        Returns
        -------
        list of (float, Bank, int, int, int)
            Contribution, and what `describe` says of the context.
        """
        self.vote(self.active(image), trace=True)
        explained = self.brain.explain(int(self.classes[label]), k)
        first = int(self.contexts[0])
        return [
            (path.contribution, *self.describe(path.neurons[0] - first)) for path in explained.paths
        ]

    def describe(self, context: int) -> tuple[Bank, int, int, int]:
        """Return what a context stands for: its bank, row and column of the block, and code."""
        if not 0 <= context < len(self.contexts):
            raise IndexError(f"context is {context}; allowed: 0 to {len(self.contexts) - 1}")
        first = 0
        for bank in self.banks:
            own, first = context - first, first + bank.contexts
            if context < first:
                break
        block, code = own >> bank.filters, own & ((1 << bank.filters) - 1)
        return bank, block // bank.blocks, block % bank.blocks, code


def _checked(filters: Sequence[np.ndarray], banks: Sequence[Bank]) -> int:
    """Return the number of contexts; raise where the parts do not fit."""
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
