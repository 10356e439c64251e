"""Compiled code that finds and grows synapses.

A synapse has an **edge number**: its place among the rows, or, while it is pending, the number of
synapses in rows plus its place among the pending ones. Rows are sorted by relation and target and
are searched by bisection; pending synapses are found through an open-addressing table of slots,
each 32 bits of a hash and 1 + a place.
"""

import numba
import numpy as np

from plasticity.substrate.structures import (
    FAN_OUT,
    FIRST_SYNAPSE,
    NEXT,
    PENDING,
    RELATION,
    SOURCE,
    TARGET,
)

MISSING = -1
# Constants of MurmurHash3's 64-bit finaliser (Appleby, 2011, public domain).
_MIX_1, _MIX_2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_SHIFT, _HALF, _LOW = np.uint64(33), np.uint64(32), np.uint64(0xFFFFFFFF)


@numba.njit(inline="always")
def _hash(source, target, relation):
    mixed = (np.uint64(source) << _HALF) ^ np.uint64(target) ^ (np.uint64(relation) * _MIX_2)
    mixed = (mixed ^ (mixed >> _SHIFT)) * _MIX_1
    mixed = (mixed ^ (mixed >> _SHIFT)) * _MIX_2
    return mixed ^ (mixed >> _SHIFT)


@numba.njit(inline="always")
def _in_row(first, fan_out, synapse_words, synapse_bytes, target, relation):
    """Return the edge number in a row, by bisection, or MISSING."""
    low, high = first, first + fan_out
    while low < high:
        middle = (low + high) >> 1
        other = synapse_bytes[middle, RELATION]
        if other < relation or (other == relation and synapse_words[middle, TARGET] < target):
            low = middle + 1
        else:
            high = middle
    if (
        low < first + fan_out
        and synapse_words[low, TARGET] == target
        and synapse_bytes[low, RELATION] == relation
    ):
        return low
    return MISSING


@numba.njit(inline="always")
def _in_slots(slots, pending_words, pending_bytes, source, target, relation):
    """Return (place among the pending synapses or MISSING, slot where the search ended)."""
    mask = np.uint64(len(slots) - 1)
    mixed = _hash(source, target, relation)
    tag = mixed >> _HALF
    slot = mixed & mask
    while slots[slot] != 0:
        if slots[slot] >> _HALF == tag:
            place = np.int64(slots[slot] & _LOW) - 1
            if (
                pending_words[place, SOURCE] == source
                and pending_words[place, TARGET] == target
                and pending_bytes[place, RELATION] == relation
            ):
                return place, slot
        slot = (slot + np.uint64(1)) & mask
    return MISSING, slot


def _locate(graph, sources, targets, relation, edges):
    """Write the edge number of each pair, MISSING where there is no synapse.

    Parameters
    ----------
    graph : tuple of arrays
        `Graph.arrays`.
    sources, targets : ndarray of uint32, shape (pairs,)
    relation : int
    edges : ndarray of int64, shape (pairs,)
        Written.
    """
    words, long_words, synapse_words, synapse_bytes, pending_words, pending_bytes, slots = graph
    for i in numba.prange(len(sources)):
        source, target = sources[i], targets[i]
        first = np.int64(long_words[source, FIRST_SYNAPSE])
        fan_out = np.int64(words[source, FAN_OUT])
        edge = np.int64(MISSING)
        if fan_out:
            edge = _in_row(first, fan_out, synapse_words, synapse_bytes, target, relation)
        if edge == MISSING and words[source, PENDING]:
            place, _ = _in_slots(slots, pending_words, pending_bytes, source, target, relation)
            if place != MISSING:
                edge = len(synapse_words) + place
        edges[i] = edge


locate = numba.njit(cache=True)(_locate)
locate_parallel = numba.njit(cache=True, parallel=True)(_locate)


@numba.njit(cache=True)
def grow(graph, sources, targets, relation, edges, count):
    """Grow the pairs whose edge is MISSING, in order, each once; return the pending count.

    Parameters
    ----------
    graph : tuple of arrays
        `Graph.arrays`; the pending synapses must have room, and the slots be at most half full.
    sources, targets : ndarray of uint32, shape (pairs,)
    relation : int
    edges : ndarray of int64, shape (pairs,)
        Edge numbers; those grown are written.
    count : int
        Pending synapses so far.
    """
    words, _, synapse_words, _, pending_words, pending_bytes, slots = graph
    for i in range(len(sources)):
        if edges[i] != MISSING:
            continue
        source, target = sources[i], targets[i]
        place, slot = _in_slots(slots, pending_words, pending_bytes, source, target, relation)
        if place == MISSING:
            place = count
            count += 1
            pending_words[place, TARGET] = target
            pending_words[place, SOURCE] = source
            pending_bytes[place, RELATION] = relation
            pending_words[place, NEXT] = words[source, PENDING]
            words[source, PENDING] = place + 1
            tag = _hash(source, target, relation) >> _HALF
            slots[slot] = (tag << _HALF) | np.uint64(place + 1)
        edges[i] = len(synapse_words) + place
    return count


@numba.njit(cache=True)
def enter(pending_words, pending_bytes, slots):
    """Enter every pending synapse into empty slots."""
    mask = np.uint64(len(slots) - 1)
    for place in range(len(pending_words)):
        source, target = pending_words[place, SOURCE], pending_words[place, TARGET]
        mixed = _hash(source, target, pending_bytes[place, RELATION])
        slot = mixed & mask
        while slots[slot] != 0:
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = (mixed >> _HALF << _HALF) | np.uint64(place + 1)


@numba.njit(cache=True)
def merge(words, long_words, synapses, pending, order, starts, merged):
    """Write the rows of all neurons anew, with the pending synapses sorted in.

    Parameters
    ----------
    words, long_words : ndarray of uint32 and uint64
        Words of the neurons; row, fan-out and pending chain are written.
    synapses : ndarray of uint32, shape (synapses, 4)
        Rows as they are.
    pending : ndarray of uint32, shape (pending, 6)
    order : ndarray of int64, shape (pending,)
        Pending places sorted by source, relation and target.
    starts : ndarray of int64, shape (neurons + 1,)
        Where each source's part of `order` starts.
    merged : ndarray of uint32, shape (synapses + pending, 4)
        Written.
    """
    out = 0
    for neuron in range(len(words)):
        old = np.int64(long_words[neuron, FIRST_SYNAPSE])
        old_end = old + np.int64(words[neuron, FAN_OUT])
        new, new_end = starts[neuron], starts[neuron + 1]
        first = out
        while old < old_end or new < new_end:
            take_old = new == new_end
            if old < old_end and new < new_end:
                mine, other = synapses[old], pending[order[new]]
                # The relation is the low byte of the upper half of the last word.
                left, right = (mine[3] >> 16) & 0xFF, (other[3] >> 16) & 0xFF
                take_old = left < right or (left == right and mine[TARGET] < other[TARGET])
            if take_old:
                merged[out, :] = synapses[old]
                old += 1
            else:
                merged[out, :] = pending[order[new], :4]
                new += 1
            out += 1
        long_words[neuron, FIRST_SYNAPSE] = first
        words[neuron, FAN_OUT] = out - first
        words[neuron, PENDING] = 0
