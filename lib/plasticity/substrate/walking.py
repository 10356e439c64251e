"""Walking along the synapses of a frontier, in the one order in which contributions are added.

Sources ascend; each source's row is walked from front to back, then its pending synapses from
newest to oldest. `walk` is compiled into every kernel of this module, which differ in what they do
with a contribution: list it, add it, count it, deal it to a bin.
"""

from typing import NamedTuple

import numba
import numpy as np

from plasticity.substrate.structures import (
    FAN_OUT,
    FIRST_SYNAPSE,
    NEXT,
    PENDING,
    RELATION,
    TARGET,
    WEIGHT,
    words,
)

NONE, ONE, WHOLE = np.uint64(0), np.uint64(1), np.uint64(2**63)
KERNEL = {"cache": True, "nogil": True, "error_model": "numpy"}


class Links(NamedTuple):
    """What the kernels read of a graph: words of its arrays, uint32, and what its relations do."""

    neurons: np.ndarray
    synapses: np.ndarray
    pending: np.ndarray
    signs: np.ndarray
    allowed: np.ndarray


class Frontier(NamedTuple):
    """Emitting neurons, ascending, uint32, and what they emit, float32."""

    neurons: np.ndarray
    values: np.ndarray


@numba.njit(inline="always", **KERNEL)
def walk(receive, state, links, frontier, skip, most):
    """Call ``receive(state, at, source, target, contribution, relation)`` for each synapse.

    The first ``skip`` synapses are passed over, and the walk ends after ``most`` of them; those
    of relations that are not allowed count. ``at`` is what the call before returned, 0 at first.
    Returns the last ``at``, and 0 or 1 + the source whose synapses lead outside of the arrays.
    """
    neurons, synapses, pending, signs, allowed = links
    rows = neurons.view(np.uint64)
    weights, relations = synapses.view(np.float32), synapses.view(np.uint8)
    pending_weights, pending_relations = pending.view(np.float32), pending.view(np.uint8)
    number = np.uint64(len(neurons))
    at = NONE
    for i in range(len(frontier.neurons)):
        source, value = np.uint64(frontier.neurons[i]), frontier.values[i]
        if source >= number:
            return at, source + ONE
        first, fan_out = rows[source, FIRST_SYNAPSE], np.uint64(neurons[source, FAN_OUT])
        if first > np.uint64(len(synapses)) or fan_out > np.uint64(len(synapses)) - first:
            return at, source + ONE
        passed = min(skip, fan_out)
        taken = min(fan_out - passed, most)
        for place in range(first + passed, first + passed + taken):
            relation = relations[place, RELATION]
            if allowed[relation]:
                target = np.uint64(synapses[place, TARGET])
                if target >= number:
                    return at, source + ONE
                contribution = (signs[relation] * weights[place, WEIGHT]) * value
                at = receive(state, at, source, target, contribution, relation)
        skip, most = skip - passed, most - taken
        link = neurons[source, PENDING]
        while link != 0 and most > 0:
            place = np.uint64(link) - ONE
            if place >= np.uint64(len(pending)) or pending[place, NEXT] >= link:
                return at, source + ONE
            link = pending[place, NEXT]
            if skip > 0:
                skip -= ONE
                continue
            most -= ONE
            relation = pending_relations[place, RELATION]
            if allowed[relation]:
                target = np.uint64(pending[place, TARGET])
                if target >= number:
                    return at, source + ONE
                contribution = (signs[relation] * pending_weights[place, WEIGHT]) * value
                at = receive(state, at, source, target, contribution, relation)
        if most == 0:
            break
    return at, NONE


@numba.njit(**KERNEL)
def count_synapses(links, sources, degrees):
    """Write the number of each source's synapses; return their sum, and a fault as `walk` does."""
    neurons, synapses, pending = links.neurons, links.synapses, links.pending
    total = NONE
    for i in range(len(sources)):
        source = np.uint64(sources[i])
        if source >= np.uint64(len(neurons)):
            return total, source + ONE
        degree = np.uint64(neurons[source, FAN_OUT])
        if degree > np.uint64(len(synapses)):
            return total, source + ONE
        link = neurons[source, PENDING]
        while link != 0:
            place = np.uint64(link) - ONE
            if place >= np.uint64(len(pending)) or pending[place, NEXT] >= link:
                return total, source + ONE
            link = pending[place, NEXT]
            degree += ONE
        degrees[i] = degree
        total += degree
    return total, NONE


@numba.njit(**KERNEL)
def _list(state, at, source, target, contribution, relation):
    sources, targets, relations, contributions = state
    sources[at], targets[at], relations[at] = source, target, relation
    contributions[at] = contribution
    return at + ONE


@numba.njit(**KERNEL)
def _add(state, at, source, target, contribution, relation):
    state[0][target] += contribution
    return ONE


@numba.njit(**KERNEL)
def _count(state, at, source, target, contribution, relation):
    counts, shift = state
    counts[target >> shift] += ONE
    return ONE


@numba.njit(**KERNEL)
def _deal_contribution(state, at, source, target, contribution, relation):
    places, targets, contributions, shift = state
    place = places[target >> shift]
    targets[place], contributions[place] = target, contribution
    places[target >> shift] = place + ONE
    return ONE


@numba.njit(**KERNEL)
def _deal_synapse(state, at, source, target, contribution, relation):
    places, sources, targets, contributions, shift = state
    place = places[target >> shift]
    sources[place], targets[place], contributions[place] = source, target, contribution
    places[target >> shift] = place + ONE
    return ONE


@numba.njit(**KERNEL)
def list_all(columns, links, frontier):
    """Fill columns source, target, relation and contribution; the first result is their length."""
    return walk(_list, columns, links, frontier, NONE, WHOLE)


@numba.njit(**KERNEL)
def add_all(totals, links, frontier):
    """Add each contribution to its target's total."""
    return walk(_add, (totals,), links, frontier, NONE, WHOLE)


@numba.njit(**KERNEL)
def count_in_bins(state, links, frontier, skip, most):
    """Count contributions by bin; state: counts, and log2 of the targets in a bin."""
    return walk(_count, state, links, frontier, skip, most)


@numba.njit(**KERNEL)
def deal_contributions(state, links, frontier, skip, most):
    """Write contributions in order of bin; state: next place of each, columns, log2 as above."""
    return walk(_deal_contribution, state, links, frontier, skip, most)


@numba.njit(**KERNEL)
def deal_synapses(state, links, frontier, skip, most):
    """Write sources as well."""
    return walk(_deal_synapse, state, links, frontier, skip, most)


def links_of(neurons, synapses, pending, signs, allowed) -> Links:
    """Return the words of a graph's arrays with the relations' signs, of the types compiled for."""
    arrays = (words(records, np.uint32) for records in (neurons, synapses, pending))
    signs = np.ascontiguousarray(signs, np.float32)
    allowed = np.ascontiguousarray(allowed, np.uint8)
    for name, given in (("signs", signs), ("allowed", allowed)):
        if given.shape != (256,):
            raise ValueError(f"{name} has shape {given.shape}; allowed: (256,), one a relation")
    return Links(*arrays, signs, allowed)


def frontier_of(neurons, values) -> Frontier:
    """Return a frontier of the types compiled for."""
    neurons = np.ascontiguousarray(neurons, np.uint32)
    values = np.ascontiguousarray(values, np.float32)
    if neurons.shape != values.shape or neurons.ndim != 1:
        raise ValueError(
            f"frontier has shape {neurons.shape}, values {values.shape}; allowed: one value for "
            "each neuron, in one dimension"
        )
    return Frontier(neurons, values)


def checked(result: tuple[int, int], links: Links) -> int:
    """Return what a walk returned first; say where it met a synapse that leads nowhere."""
    value, fault = result
    if not fault:
        return int(value)
    source, number = int(fault) - 1, len(links.neurons)
    if source >= number:
        raise ValueError(f"the frontier holds neuron {source}; allowed: 0 to {number - 1}")
    first = int(links.neurons.view(np.uint64)[source, FIRST_SYNAPSE])
    end = first + int(links.neurons[source, FAN_OUT])
    raise ValueError(
        f"the synapses of neuron {source} lead outside: its row is {first} to {end} of "
        f"{len(links.synapses)}, its pending chain starts at {links.neurons[source, PENDING]} of "
        f"{len(links.pending)}, targets are allowed from 0 to {number - 1}; the graph is damaged: "
        "restore it, or grow it again from its edges"
    )
