"""Derived layouts for the activation of (nearly) a whole graph, rebuilt whenever it has changed.

A view keeps the allowed synapses of a graph sorted by bins of neighbouring targets; within a bin
they stand in the order of addition. Totals of one bin stay in the cache while the emitted values
are read from front to back. The graph itself remains the truth: a view knows the version of the
graph that it was made from, and refuses to stand in for another.
"""

from dataclasses import dataclass
from itertools import pairwise

import numba
import numpy as np

from plasticity.substrate.blocked import workers
from plasticity.substrate.propagation import collect
from plasticity.substrate.walking import (
    KERNEL,
    NONE,
    WHOLE,
    checked,
    count_in_bins,
    deal_synapses,
    frontier_of,
    links_of,
)

BIN = 16  # log2 of the targets in a bin, at least
BINS = 6  # log2 of the number of bins, at most
SHARED = 1 << 20  # fewer synapses are not worth a second thread


@numba.njit(**KERNEL)
def _add_products(totals, sources, targets, weights, values):
    for i in range(len(targets)):
        totals[np.uint64(targets[i])] += weights[i] * values[np.uint64(sources[i])]


class StaleViewError(ValueError):
    """A view was asked to stand in for a graph that has changed since."""


@dataclass(frozen=True, eq=False)
class View:
    """The synapses of a graph, sorted by bin of target.

    Attributes
    ----------
    version : int
        Of the graph that it was made from.
    neurons : int
        Number of neurons.
    ends : ndarray of uint64, shape (bins,)
        Where the synapses of each bin end.
    sources, targets : ndarray of uint32, shape (synapses,)
    weights : ndarray of float32, shape (synapses,)
        With the sign of the relation.
    finite : bool
        Whether every weight is a finite number.
    """

    version: int
    neurons: int
    ends: np.ndarray
    sources: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    finite: bool

    def stale(self, version: int) -> bool:
        """Return whether the graph has changed since the view was made.

        Parameters
        ----------
        version : int
            The graph's version now.
        """
        return version != self.version

    def deliver(
        self, version: int, frontier: np.ndarray, values: np.ndarray, threads: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return what arrives at each neuron, bitwise as `propagation.deliver` does.

        Parameters
        ----------
        version : int
            The graph's version now.
        frontier : ndarray of uint32, shape (n,)
            Emitting neurons, ascending, each once.
        values : ndarray of float32, shape (n,)
            What each emits.
        threads : int
            1 or more; the result does not depend on it.

        Returns
        -------
        targets : ndarray of uint32
            Ascending; a total of exactly 0 is left out.
        totals : ndarray of float32

        Raises
        ------
        StaleViewError
            If the graph has changed since the view was made.
        ValueError
            If a neuron is outside of the graph, or if some neurons are silent and a weight is not
            finite, as its product with 0 is not 0.
        """
        every = self._of_every_neuron(frontier_of(frontier, values))
        threads = self._useful(threads)
        with workers(threads) as run:
            return collect(self._add(version, every, threads, run), threads, run)

    def totals(self, version: int, values: np.ndarray, threads: int = 1) -> np.ndarray:
        """Return the total of every neuron when every neuron emits, zeros included.

        Parameters
        ----------
        version : int
            The graph's version now.
        values : ndarray of float32, shape (neurons,)
            What each neuron emits.
        threads : int
            1 or more.

        Returns
        -------
        ndarray of float32, shape (neurons,)

        Raises
        ------
        StaleViewError
            If the graph has changed since the view was made.
        ValueError
            If there is not one value for each neuron.
        """
        values = np.ascontiguousarray(values, np.float32)
        if values.shape != (self.neurons,):
            raise ValueError(f"values has shape {values.shape}; allowed: ({self.neurons},)")
        threads = self._useful(threads)
        with workers(threads) as run:
            return self._add(version, values, threads, run)

    def _useful(self, threads: int) -> int:
        return threads if len(self.targets) >= SHARED else 1

    def _add(self, version: int, values: np.ndarray, threads: int, run) -> np.ndarray:
        if self.stale(version):
            raise StaleViewError(
                f"version is {version}, the view was made of version {self.version}; make it again "
                "with views.build"
            )
        totals = np.zeros(self.neurons, np.float32)
        goals = [len(self.targets) * part // threads for part in range(1, threads)]
        inner = [int(self.ends[np.searchsorted(self.ends, np.uint64(goal))]) for goal in goals]
        parts = [slice(*cut) for cut in pairwise([0, *inner, len(self.targets)])]
        columns = ([c[part] for part in parts] for c in (self.sources, self.targets, self.weights))
        run(_add_products, [totals] * threads, *columns, [values] * threads)
        return totals

    def _of_every_neuron(self, front) -> np.ndarray:
        """Return emitted values by neuron, 0 for those that are silent: that adds nothing."""
        if len(front.neurons) == self.neurons:
            return front.values
        if not self.finite:
            raise ValueError(
                f"{len(front.neurons)} of {self.neurons} neurons emit, and some weights are not "
                "finite; use propagation.deliver, or let every neuron emit"
            )
        if len(front.neurons) and int(front.neurons[-1]) >= self.neurons:
            raise ValueError(
                f"the frontier holds neuron {front.neurons[-1]}; allowed: 0 to {self.neurons - 1}"
            )
        every = np.zeros(self.neurons, np.float32)
        every[front.neurons] = front.values
        return every


def build(neurons, synapses, pending, signs, allowed, version: int) -> View:
    """Make a view of a graph.

    Parameters
    ----------
    neurons, synapses, pending, signs, allowed
        As for `propagation.deliver`.
    version : int
        The graph's version.

    Returns
    -------
    View
        Of 12 bytes a synapse.

    Raises
    ------
    ValueError
        If a synapse leads outside of the graph.

    Examples
    --------
    >>> from plasticity.substrate.structures import NEURON_DTYPE, PENDING_DTYPE, SYNAPSE_DTYPE
    >>> neurons, synapses = np.zeros(2, NEURON_DTYPE), np.zeros(1, SYNAPSE_DTYPE)
    >>> neurons["fan_out"][0], synapses["target"], synapses["weight"] = 1, 1, 3
    >>> graph = neurons, synapses, np.zeros(0, PENDING_DTYPE)
    >>> view = build(*graph, signs=np.ones(256), allowed=np.ones(256), version=7)
    >>> view.deliver(7, [0, 1], [0.5, 1])
    (array([1], dtype=uint32), array([1.5], dtype=float32))
    >>> view.stale(8)
    True
    """
    links = links_of(neurons, synapses, pending, signs, allowed)
    number = len(neurons)
    shift = np.uint64(max(BIN, (max(number, 1) - 1).bit_length() - BINS))
    every = frontier_of(np.arange(number), np.ones(number))  # a weight times 1 is the weight
    counts = np.zeros((number >> int(shift)) + 1, np.uint64)
    checked(count_in_bins((counts, shift), links, every, NONE, WHOLE), links)
    ends = np.cumsum(counts)
    size = int(ends[-1])
    sources, targets = np.empty(size, np.uint32), np.empty(size, np.uint32)
    weights = np.empty(size, np.float32)
    state = (ends - counts, sources, targets, weights, shift)
    checked(deal_synapses(state, links, every, NONE, WHOLE), links)
    return View(version, number, ends, sources, targets, weights, bool(np.isfinite(weights).all()))
