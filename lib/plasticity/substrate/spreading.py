"""One cycle of activation: delivered input becomes activation, and what passes is emitted."""

from dataclasses import dataclass
from itertools import pairwise

import numba
import numpy as np

from plasticity.substrate.blocked import workers
from plasticity.substrate.structures import (
    ACTIVATION,
    BIAS,
    FIRES,
    GAIN,
    LAST_TICK,
    LEAK,
    THRESHOLD,
    words,
)
from plasticity.substrate.walking import KERNEL

SHARED = 1 << 18  # fewer neurons are not worth several threads
LAST = 0xFFFFFFFF  # ticks are counted in 32 bits
NOTHING = (np.zeros(0, np.uint32), np.zeros(0, np.float32))


@dataclass(frozen=True)
class Cycle:
    """What one cycle did.

    Attributes
    ----------
    tick : int
        The brain's clock.
    sources, values : ndarray of uint32 and float32
        What was emitted into the cycle.
    hit : ndarray of uint32
        Neurons that received input or a goal, ascending.
    totals : ndarray of float32
        Input of each.
    scales, constants, kept : ndarray of float32
        Gain including working memory, bias and goal, and what was left of the activation before:
        activation = kept + scales * totals + constants. Empty unless the spread is traced.
    activations : ndarray of float32
        The result.
    emitted : ndarray of bool
        Which of the hit neurons passed their threshold and won the places of their group.
    """

    tick: int
    sources: np.ndarray
    values: np.ndarray
    hit: np.ndarray
    totals: np.ndarray
    scales: np.ndarray
    constants: np.ndarray
    kept: np.ndarray
    activations: np.ndarray
    emitted: np.ndarray


@numba.njit(inline="always")
def _power(base, exponent):
    """Return base ** exponent of a whole exponent, by squaring: the same on every machine."""
    result = np.float32(1)
    while exponent > 0:
        if exponent & 1:
            result = result * base
        base = base * base
        exponent >>= 1
    return result


@numba.njit(**KERNEL)
def _integrate(records, tick, columns, extras, parts):
    """Turn input into activation; extras are goal and boost of each, parts what it is made of.

    Either may be empty: nothing extra, nothing to be kept. Fires are counted here, while the neuron
    is in the cache; `compete` takes back those of losers.
    """
    floats, counters = records
    hit, totals, activations, fired = columns
    goals, boosts = extras
    scales, constants, kept = parts
    extra, traced = len(goals) > 0, len(kept) > 0
    for i in range(len(hit)):
        neuron = hit[i]
        elapsed = np.int64(np.uint32(tick - counters[neuron, LAST_TICK]))
        left = _power(floats[neuron, LEAK], elapsed) * floats[neuron, ACTIVATION]
        scale, constant = floats[neuron, GAIN], floats[neuron, BIAS]
        if extra:
            scale, constant = scale * boosts[i], goals[i] + constant
        activation = left + scale * totals[i] + constant
        passes = activation > floats[neuron, THRESHOLD]
        activations[i], fired[i] = activation, passes
        floats[neuron, ACTIVATION] = activation
        counters[neuron, LAST_TICK] = tick
        counters[neuron, FIRES] += np.uint32(passes)
        if traced:
            scales[i], constants[i], kept[i] = scale, constant, left


def integrate(
    neurons: np.ndarray,
    delivered: tuple[np.ndarray, np.ndarray],
    goals: tuple[np.ndarray, np.ndarray],
    boosts: tuple[np.ndarray, np.ndarray],
    tick: int,
    frontier: tuple[np.ndarray, np.ndarray],
    threads: int = 1,
    traced: bool = False,
) -> Cycle:
    """Update the neurons that were hit and say which of them pass their threshold.

    Parameters
    ----------
    neurons : ndarray of NEURON_DTYPE
        Activation, last tick and the count of fires are written.
    delivered, goals, boosts : tuple of ndarray
        Ascending indexes, uint32, and float32 values: input; activation added from outside;
        factors on the gain.
    tick : int
    frontier : tuple of ndarray
        What was emitted into this cycle.
    threads : int
        1 or more; the result does not depend on it.
    traced : bool
        Keep what each activation is made of.

    Returns
    -------
    Cycle
        `emitted` before the competition.
    """
    hit, totals = delivered
    if len(goals[0]):
        hit = np.union1d(hit, goals[0])
        totals = _spread_over(hit, delivered, 0)
    extras = (np.zeros(0, np.float32),) * 2
    if len(goals[0]) or len(boosts[0]):
        extras = _spread_over(hit, goals, 0), _spread_over(hit, boosts, 1)
    activations, fired = np.empty(len(hit), np.float32), np.empty(len(hit), np.bool_)
    parts = tuple(np.empty(len(hit) * traced, np.float32) for _ in range(3))
    cuts = _cuts(len(hit), threads)
    records = words(neurons, np.float32), words(neurons, np.uint32)
    each = (hit, totals, activations, fired), extras, parts
    with workers(len(cuts)) as run:
        run(
            _integrate,
            [records] * len(cuts),
            [np.uint32(tick & LAST)] * len(cuts),
            *([tuple(column[cut] for column in columns) for cut in cuts] for columns in each),
        )
    return Cycle(tick, *frontier, hit, totals, *parts, activations, fired)


def _spread_over(every: np.ndarray, known: tuple[np.ndarray, np.ndarray], rest: float):
    """Return the known values at their places among `every`, ascending, and `rest` elsewhere."""
    values = np.full(len(every), rest, np.float32)
    indexes, given = known
    if len(indexes) and len(every):
        places = np.minimum(np.searchsorted(every, indexes), len(every) - 1)
        there = every[places] == indexes
        values[places[there]] = given[there]
    return values


def compete(cycle: Cycle, neurons: np.ndarray, winners: np.ndarray) -> None:
    """Let only the strongest of each group emit; the activations of the others stay.

    Parameters
    ----------
    cycle : Cycle
        `emitted` is written.
    neurons : ndarray of NEURON_DTYPE
        The count of fires of those that lose is taken back.
    winners : ndarray of int64, shape (groups,)
        Places of each group, 0 for as many as like.
    """
    if not winners.any():
        return
    candidates = np.flatnonzero(cycle.emitted)
    groups = neurons["group"][cycle.hit[candidates]]
    bounded = winners[groups] > 0
    candidates, groups = candidates[bounded], groups[bounded]
    # By group, then strength, then index: the place within the group decides.
    order = np.lexsort((candidates, -cycle.activations[candidates], groups))
    ordered = groups[order]
    rank = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    losers = candidates[order[rank >= winners[ordered]]]
    cycle.emitted[losers] = False
    neurons["fires"][cycle.hit[losers]] -= np.uint32(1)


@numba.njit(**KERNEL)
def _emit(hit, activations, emitted, neurons, values):
    at = 0
    for i in range(len(hit)):
        if at == len(neurons):
            return
        neurons[at], values[at] = hit[i], activations[i]  # overwritten by the next if not emitted
        at += emitted[i]


def emission(cycle: Cycle, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return what a cycle emits into the next: indexes, ascending, and activations.

    Parameters
    ----------
    cycle : Cycle
    threads : int
        1 or more; the result does not depend on it.

    Returns
    -------
    neurons, values : ndarray of uint32 and float32
    """
    cuts = _cuts(len(cycle.hit), threads)
    ends = np.cumsum([0, *(np.count_nonzero(cycle.emitted[cut]) for cut in cuts)]).tolist()
    neurons, values = np.empty(ends[-1], np.uint32), np.empty(ends[-1], np.float32)
    places = [slice(*span) for span in pairwise(ends)]
    columns = [[c[cut] for cut in cuts] for c in (cycle.hit, cycle.activations, cycle.emitted)]
    with workers(len(cuts)) as run:
        run(_emit, *columns, [neurons[place] for place in places], [values[p] for p in places])
    return neurons, values


def _cuts(count: int, threads: int) -> list[slice]:
    """Cut so many neurons into a part for each thread, or leave them whole where they are few."""
    parts = threads if count >= SHARED else 1
    return [slice(*cut) for cut in pairwise(np.linspace(0, count, parts + 1).astype(int).tolist())]
