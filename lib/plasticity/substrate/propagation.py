"""Spread of one step: from a frontier of emitting neurons to the totals that arrive.

Contributions are added to each target in the one order of `walking`, on each of three paths, so
that their totals are bitwise the same:

- sparse: few synapses in a large graph are added up in a hash table of their own number;
- dense: a graph that fits the cache is added up in one array over all neurons;
- blocked: a large activation of a larger graph, or one shared by threads, see `blocked`.
"""

from collections.abc import Callable
from itertools import pairwise

import numba
import numpy as np

from plasticity.substrate.blocked import add_blocked, workers
from plasticity.substrate.walking import (
    KERNEL,
    ONE,
    Frontier,
    Links,
    add_all,
    checked,
    count_synapses,
    frontier_of,
    links_of,
    list_all,
)

SMALL = 1 << 14  # a graph of so many neurons is always added up in one array
CACHED = 1 << 21  # one of so many still is, unless many threads share it
SPARSE = 8  # with fewer synapses than a so-many-th of the neurons, a hash table is faster
SHARED = 1 << 20  # fewer synapses are not worth several threads
WORTH = 3  # threads: blocks cost twice as much a synapse as a graph that is cached
HASH = np.uint64(0x9E3779B97F4A7C15)


@numba.njit(**KERNEL)
def _filled(totals):
    """Return how many totals are not 0."""
    filled = 0
    for i in range(len(totals)):
        filled += totals[i] != 0
    return filled


@numba.njit(**KERNEL)
def _collect(totals, first, targets, values):
    """Write the totals that are not 0, and where they stand, ``first`` being the first place."""
    at, place = np.uint64(0), np.uint64(first)
    for i in range(len(totals)):
        if at == np.uint64(len(targets)):
            return
        targets[at], values[at] = place, totals[i]  # overwritten by the next where it is 0
        at += np.uint64(totals[i] != 0)
        place += ONE


@numba.njit(**KERNEL)
def _add_hashed(targets, contributions, keys, totals):
    """Add to each target's slot, and return targets and bits of totals packed to be sorted.

    A slot's key is 1 + its target, 0 while it is free; the number of slots is a power of two.
    """
    last = np.uint64(len(keys)) - ONE
    for i in range(len(targets)):
        key = targets[i] + np.uint32(1)
        slot = (np.uint64(key) * HASH >> np.uint64(32)) & last
        while keys[slot] != key and keys[slot] != 0:
            slot = (slot + ONE) & last
        keys[slot] = key
        totals[slot] += contributions[i]
    bits = totals.view(np.uint32)
    packed, at = np.empty(len(targets), np.uint64), np.uint64(0)
    for place in range(len(keys)):
        if totals[place] != 0:
            target = np.uint64(keys[place] - np.uint32(1))
            packed[at] = target << np.uint64(32) | np.uint64(bits[place])
            at += ONE
    return packed[:at]


@numba.njit(**KERNEL)
def _sorted_by_target(packed, bits):
    """Return words sorted by their high half, of which so many bits are used, digit by digit."""
    digit, shift, end = np.uint64(11), np.uint64(32), np.uint64(32 + bits)
    counts, mask = np.empty(1 << 11, np.uint64), np.uint64((1 << 11) - 1)
    spare = np.empty_like(packed)
    while shift < end:
        counts[:] = 0
        for word in packed:
            counts[(word >> shift) & mask] += ONE
        before = np.uint64(0)
        for value in range(len(counts)):
            before, counts[value] = before + counts[value], before
        for word in packed:
            place = (word >> shift) & mask
            spare[counts[place]] = word
            counts[place] += ONE
        packed, spare = spare, packed
        shift += digit
    return packed


def gather(neurons, synapses, pending, frontier, values, signs, allowed) -> tuple[np.ndarray, ...]:
    """List the synapses along which a frontier emits, in the order of addition.

    Parameters
    ----------
    neurons, synapses, pending, frontier, values, signs, allowed
        As for `deliver`.

    Returns
    -------
    sources, targets : ndarray of uint32, shape (synapses,)
    relations : ndarray of uint8
    contributions : ndarray of float32
        Sign times weight times emitted value.

    Raises
    ------
    ValueError
        As `deliver`.

    Examples
    --------
    >>> from plasticity.substrate.structures import NEURON_DTYPE, PENDING_DTYPE, SYNAPSE_DTYPE
    >>> neurons, synapses = np.zeros(2, NEURON_DTYPE), np.zeros(1, SYNAPSE_DTYPE)
    >>> neurons["fan_out"][0], synapses["target"], synapses["weight"] = 1, 1, 3
    >>> graph = neurons, synapses, np.zeros(0, PENDING_DTYPE)
    >>> sources, targets, relations, contributions = gather(
    ...     *graph, [0], [0.5], signs=np.ones(256), allowed=np.ones(256)
    ... )
    >>> sources, targets, contributions
    (array([0], dtype=uint32), array([1], dtype=uint32), array([1.5], dtype=float32))
    """
    links = links_of(neurons, synapses, pending, signs, allowed)
    front = frontier_of(frontier, values)
    edges = synapses_of(links, front)
    return _gathered(links, front, edges)


def synapses_of(links: Links, front: Frontier) -> int:
    """Return the number of a frontier's synapses, those not allowed included."""
    degrees = np.empty(len(front.neurons), np.uint64)
    return checked(count_synapses(links, front.neurons, degrees), links)


def _gathered(links: Links, front: Frontier, edges: int) -> tuple[np.ndarray, ...]:
    kinds = (np.uint32, np.uint32, np.uint8, np.float32)
    columns = tuple(np.empty(edges, kind) for kind in kinds)
    listed = checked(list_all(columns, links, front), links)
    return tuple(column[:listed] for column in columns)


def deliver(
    neurons: np.ndarray,
    synapses: np.ndarray,
    pending: np.ndarray,
    frontier: np.ndarray,
    values: np.ndarray,
    signs: np.ndarray,
    allowed: np.ndarray,
    threads: int = 1,
    release: Callable[[], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return what arrives at each neuron when a frontier emits.

    Parameters
    ----------
    neurons : ndarray of NEURON_DTYPE
    synapses : ndarray of SYNAPSE_DTYPE
    pending : ndarray of PENDING_DTYPE
    frontier : ndarray of uint32, shape (n,)
        Emitting neurons, ascending.
    values : ndarray of float32, shape (n,)
        What each emits.
    signs : ndarray of float32, shape (256,)
        Factor of each relation.
    allowed : ndarray of bool or uint8, shape (256,)
        Relations along which it spreads.
    threads : int
        1 or more; the result does not depend on it.
    release : callable, optional
        Called after every few million synapses, to give pages of mapped files back to the system.

    Returns
    -------
    targets : ndarray of uint32
        Ascending; a total of exactly 0 is left out, one that is not a number is not.
    totals : ndarray of float32

    Raises
    ------
    ValueError
        If a neuron or synapse leads outside of the graph, or an argument has another shape.

    Examples
    --------
    >>> from plasticity.substrate.structures import NEURON_DTYPE, PENDING_DTYPE, SYNAPSE_DTYPE
    >>> neurons, synapses = np.zeros(3, NEURON_DTYPE), np.zeros(2, SYNAPSE_DTYPE)
    >>> neurons["first_synapse"], neurons["fan_out"] = [0, 1, 2], [1, 1, 0]
    >>> synapses["target"], synapses["weight"] = 2, [3, 4]
    >>> graph = neurons, synapses, np.zeros(0, PENDING_DTYPE)
    >>> deliver(*graph, [0, 1], [1.0, 0.5], signs=np.ones(256), allowed=np.ones(256))
    (array([2], dtype=uint32), array([5.], dtype=float32))
    """
    links = links_of(neurons, synapses, pending, signs, allowed)
    front = frontier_of(frontier, values)
    path, edges = choose_path(links, front, threads, release is not None)
    if path == "sparse":
        return add_sparse(links, front, edges)
    totals = np.zeros(len(neurons), np.float32)
    if path == "dense":
        checked(add_all(totals, links, front), links)
        return collect(totals)
    with workers(threads) as run:
        add_blocked(links, front, totals, threads, run, release)
        return collect(totals, threads, run)


def choose_path(links: Links, front: Frontier, threads: int, bounded: bool) -> tuple[str, int]:
    """Choose the fastest way to add, and count the synapses where the choice needs it."""
    number = len(links.neurons)
    if number <= SMALL and not bounded:
        return "dense", 0
    few, edges = SPARSE * len(front.neurons) < number, number
    if few or (threads >= WORTH and number <= CACHED):
        edges = synapses_of(links, front)
    if few and SPARSE * edges < number:
        return "sparse", edges
    if number <= CACHED and not bounded and (threads < WORTH or edges < SHARED):
        return "dense", edges
    return "blocked", edges


def add_sparse(links: Links, front: Frontier, edges: int) -> tuple[np.ndarray, np.ndarray]:
    """Return targets and totals by way of a hash table of about twice the number of synapses."""
    _, targets, _, contributions = _gathered(links, front, edges)
    slots = 1 << max(1, (2 * len(targets) - 1).bit_length())
    keys, totals = np.zeros(slots, np.uint32), np.zeros(slots, np.float32)
    packed = _add_hashed(targets, contributions, keys, totals)
    packed = _sorted_by_target(packed, len(links.neurons).bit_length())
    bits = packed.astype(np.uint32)  # the low half
    return (packed >> np.uint64(32)).astype(np.uint32), bits.view(np.float32)


def collect(totals: np.ndarray, threads: int = 1, run=None) -> tuple[np.ndarray, np.ndarray]:
    """Return where totals are not 0, ascending, uint32, and what they are."""
    if threads == 1:
        filled = _filled(totals)
        targets, values = np.empty(filled, np.uint32), np.empty(filled, np.float32)
        _collect(totals, 0, targets, values)
        return targets, values
    cuts = np.linspace(0, len(totals), threads + 1).astype(int).tolist()
    parts = [totals[slice(*cut)] for cut in pairwise(cuts)]
    ends = np.cumsum([0, *run(_filled, parts)]).tolist()
    targets, values = np.empty(ends[-1], np.uint32), np.empty(ends[-1], np.float32)
    places = [slice(*span) for span in pairwise(ends)]
    run(_collect, parts, cuts[:-1], [targets[p] for p in places], [values[p] for p in places])
    return targets, values
