"""Filters learnt from patches of pictures, without labels, by Sanger's rule."""

from dataclasses import dataclass

import numpy as np

from plasticity.substrate import Brain
from plasticity.substrate.domains.images.voting import WHOLE

START = 0.1  # standard deviation of the first weights
SLOWING = 20.0  # the learning rate falls to 1 / (1 + this)
LONGEST = 2.0  # length of a patch, in usual lengths: a rate of 0.1 then never overshoots
MOST_FILTERS = 8  # their code is one byte


@dataclass(frozen=True)
class Bank:
    """Filters of one size, and the blocks of the grid in which their codes are told apart.

    Parameters
    ----------
    size : int
        Rows and columns of a filter, 2 to 16.
    filters : int
        1 to 8.
    blocks : int
        Rows and columns of blocks, 1 to 64.
    reach : float
        From the middle of a block to its end, in blocks: 0.5 leaves no overlap; 0.5 to 4.

    Raises
    ------
    ValueError
        For a setting out of its range.

    Examples
    --------
    >>> Bank(size=7, filters=8, blocks=6).contexts
    9216
    """

    size: int = 7
    filters: int = MOST_FILTERS
    blocks: int = 6
    reach: float = 1.0

    def __post_init__(self):
        """Check ranges."""
        ranges = {"size": (2, 16), "filters": (1, MOST_FILTERS), "blocks": (1, 64)}
        ranges["reach"] = (0.5, 4)
        for name, (low, high) in ranges.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} is {getattr(self, name)}; allowed: {low} to {high}")

    @property
    def contexts(self) -> int:
        """Number of pairs of a block and a code."""
        return self.blocks**2 << self.filters

    def positions(self, side: int) -> int:
        """Return the places that a filter has on one axis of a grid.

        Raises
        ------
        ValueError
            If the grid has fewer places than there are blocks.
        """
        places = side - self.size + 1
        if places < self.blocks:
            raise ValueError(
                f"blocks is {self.blocks}; allowed: 1 to {max(places, 0)}, the places of filters "
                f"of size {self.size} on a grid of side {side}"
            )
        return places

    def members(self, side: int) -> np.ndarray:
        """Return the blocks that each place on an axis of a grid belongs to.

        Parameters
        ----------
        side : int
            Of the grid.

        Returns
        -------
        ndarray of int64, shape (positions, most)
            Padded with -1.

        Examples
        --------
        >>> Bank(size=5, filters=1, blocks=2, reach=0.8).members(side=8).tolist()
        [[0, -1], [0, 1], [0, 1], [1, -1]]
        """
        places = self.positions(side)
        middles = (np.arange(places) + 0.5) * self.blocks / places - 0.5
        near = np.abs(middles[:, None] - np.arange(self.blocks)) <= self.reach
        found = np.full((places, near.sum(axis=1).max()), -1, np.int64)
        for place, own in enumerate(near):
            found[place, : own.sum()] = np.flatnonzero(own)
        return found


class FilterLearner:
    """Pixels of a patch lead to filters; each filter learns what those before it leave over.

    Parameters
    ----------
    bank : Bank
    learning_rate : float
        Of the first patch; it falls with the share of patches that have been learnt.
    seed : int
        Of the first weights.

    Examples
    --------
    >>> learner = FilterLearner(Bank(size=2, filters=1, blocks=1), learning_rate=0.05)
    >>> random = np.random.default_rng(0)
    >>> patches = random.normal(size=(2000, 1)) * [1, -1, 1, -1]
    >>> learner.learn(patches)
    >>> learner.whole()[0].ravel() * np.sign(learner.whole()[0, 0, 0]) // 100
    array([ 1., -2.,  1., -2.], dtype=float32)
    """

    def __init__(self, bank: Bank, learning_rate: float = 0.1, seed: int = 0):
        self.bank, self.seed = bank, seed
        pixels = bank.size**2
        brain = Brain(seed=seed)
        brain.relation("sees", rule="sanger", learning_rate=learning_rate)
        self.pixels, self.filters = brain.grow(pixels), brain.grow(bank.filters)
        brain.connect(self.pixels[:, None], self.filters, self.start(), "sees")
        brain.consolidate()
        self.brain = brain

    def start(self) -> np.ndarray:
        """Return the first weights, float32, shape (pixels, filters)."""
        shape = self.bank.size**2, self.bank.filters
        return np.random.default_rng(self.seed).normal(0, START, shape).astype(np.float32)

    def learn(self, patches: np.ndarray) -> None:
        """Learn patches in their order, the learning rate falling from the first to the last.

        Parameters
        ----------
        patches : ndarray of float, shape (patches, pixels)
        """
        for patch, rate in zip(patches, slowing(len(patches)), strict=True):
            self.brain.modulator = float(rate)
            response = self.brain.spread(self.pixels, patch).activation(self.filters)
            self.brain.learn_rows(self.pixels, patch, self.filters, response, "sees")

    def weights(self) -> np.ndarray:
        """Return the weights of the synapses, float32, shape (pixels, filters)."""
        found = self.brain.weights(self.pixels[:, None], self.filters[None], "sees")
        return found.reshape(len(self.pixels), len(self.filters))

    def set_weights(self, weights: np.ndarray) -> None:
        """Set the weights of the synapses."""
        self.brain.connect(self.pixels[:, None], self.filters, weights, "sees")

    def whole(self) -> np.ndarray:
        """Return the filters as whole numbers, see `whole_filters`."""
        return whole_filters(self.weights())


def slowing(count: int) -> np.ndarray:
    """Return what multiplies the learning rate for each of so many patches, float32."""
    return (1 / (1 + SLOWING * np.arange(count) / max(count, 1))).astype(np.float32)


def whole_filters(weights: np.ndarray) -> np.ndarray:
    """Return filters of whole numbers that even brightness leaves silent, as good as rounding lets.

    Parameters
    ----------
    weights : ndarray of float32, shape (pixels, filters)

    Returns
    -------
    ndarray of float32, shape (filters, size, size)
        -127 to 127.
    """
    filters = np.array(weights.T, float, order="C")
    filters -= filters.mean(axis=1, keepdims=True)
    largest = np.abs(filters).max(axis=1, keepdims=True)
    size = round(weights.shape[0] ** 0.5)
    scaled = WHOLE * filters / np.where(largest > 0, largest, 1)
    return np.rint(scaled).astype(np.float32).reshape(-1, size, size)


def sample_patches(grids: np.ndarray, size: int, count: int, seed: int) -> np.ndarray:
    """Return patches from random places of random grids, without their mean.

    Parameters
    ----------
    grids : ndarray of uint8, shape (images, side, side)
    size : int
        Rows and columns of a patch.
    count : int
        Places to look at; patches that are all of one grey are left out.
    seed : int
        Of the places.

    Returns
    -------
    ndarray of float32, shape (patches, size * size)
        Of mean square length 1, before those longer than 2 were shortened.

    Examples
    --------
    >>> grids = np.random.default_rng(0).integers(0, 256, (3, 9, 9)).astype(np.uint8)
    >>> patches = sample_patches(grids, size=4, count=5, seed=0)
    >>> patches.shape, bool(np.isclose(np.mean((patches**2).sum(axis=1)), 1))
    ((5, 16), True)
    """
    random = np.random.default_rng(seed)
    images = random.integers(0, len(grids), count)
    rows, columns = (random.integers(0, grids.shape[1] - size + 1, count) for _ in range(2))
    windows = np.lib.stride_tricks.sliding_window_view(grids, (size, size), axis=(1, 2))
    patches = windows[images, rows, columns].reshape(count, size * size).astype(np.float32)
    patches -= patches.mean(axis=1, keepdims=True)
    patches = patches[np.abs(patches).max(axis=1) > 0]
    lengths = np.sqrt((patches**2).sum(axis=1, keepdims=True))
    usual = np.sqrt(np.mean(lengths**2)) if len(patches) else 1.0
    return patches / np.maximum(usual, lengths / LONGEST).astype(np.float32)
