"""Layouts beside the graph for what touches every pair: rebuilt from its synapses, written back.

The graph stays the truth. `DensePairs` holds one relation as a matrix of weights, for Hebbian
learning between neurons of which nearly every pair has a synapse; `learn_scored` learns on the rows
of the graph itself and scores every synapse of the source before each pair, as a predictor would.
"""

import numba
import numpy as np

from plasticity.substrate.brain import Brain
from plasticity.substrate.kernels import KERNEL
from plasticity.substrate.rules import HEBBIAN
from plasticity.substrate.structures import (
    FAN_OUT,
    FIRST_SYNAPSE,
    RELATION,
    TARGET,
    WEIGHT,
    words,
)

ONE = np.float32(1)
# Constants of SplitMix64 (Steele, Lea and Flood, 2014), as in `kernels`.
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_STEP = np.uint64(0x9E3779B97F4A7C15)
_SHIFT_1, _SHIFT_2, _SHIFT_3 = np.uint64(30), np.uint64(27), np.uint64(31)


class DensePairs:
    """One Hebbian relation between all pairs of some neurons, as a matrix of weights.

    Parameters
    ----------
    brain : Brain
    relation : str
        Of rule hebbian.
    count : int
        Neurons 0 to count - 1 take part; memory is 4 bytes for each pair of them.

    Attributes
    ----------
    weights : ndarray of float32, shape (count, count)
        Row for the source; 0 where the graph has no synapse.

    Examples
    --------
    >>> brain = Brain()
    >>> _ = brain.grow(3), brain.relation("pairs", rule="hebbian", limit=1.0, learning_rate=0.5)
    >>> pairs = DensePairs(brain, "pairs", 3)
    >>> pairs.learn_contrast(np.array([0, 0]), np.array([1, 1]), noise=np.ones(3), negatives=0)
    >>> pairs.write_back()
    >>> brain.weights(0, 1, "pairs")
    array([0.75], dtype=float32)
    """

    def __init__(self, brain: Brain, relation: str, count: int):
        self._brain, self._kind = brain, _hebbian(brain, relation)
        self.weights = np.zeros((count, count), np.float32)
        edges = brain.edges(relation)
        inside = (edges["source"] < count) & (edges["target"] < count)
        edges = edges[inside]
        self.weights[edges["source"], edges["target"]] = edges["weight"]

    def learn_contrast(
        self,
        sources: np.ndarray,
        targets: np.ndarray,
        noise: np.ndarray,
        negatives: int = 3,
        strength: float = 0.1,
    ) -> None:
        """Do what `Brain.learn_contrast` does where every pair has a synapse, to the last bit.

        Parameters
        ----------
        sources, targets : ndarray of int, shape (pairs,)
        noise, negatives, strength
            As for `Brain.learn_contrast`.
        """
        brain = self._brain
        table, seed = brain.noise_table(noise), brain.draw()
        _, rate, limit, _ = brain.settings_of(self._kind)
        drawn = table, negatives, np.float32(-strength)
        pairs = sources.astype(np.uint32, copy=False), targets.astype(np.uint32, copy=False)
        brain.graph.run(
            _learn_dense, len(sources), self.weights, *pairs, drawn, (rate, limit), seed
        )

    def write_back(self) -> None:
        """Set the synapses of the graph to the weights that are not 0."""
        sources, targets = np.nonzero(self.weights)
        weights = self.weights[sources, targets]
        self._brain.connect(sources, targets, weights, self._kind.name)


def learn_scored(
    brain: Brain,
    sources: np.ndarray,
    targets: np.ndarray,
    relation: str,
    noise: np.ndarray,
    negatives: int = 3,
    strength: float = 0.1,
) -> int:
    """Before each pair, score every synapse of its source and predict; then learn the pair.

    Parameters
    ----------
    brain : Brain
        Consolidated: synapses in rows only.
    sources, targets : ndarray of int, shape (pairs,)
    relation : str
        Of rule hebbian; pairs without a synapse are scored and not learnt.
    noise, negatives, strength
        As for `Brain.learn_contrast`.

    Returns
    -------
    int
        How many targets were predicted: the strongest synapse, the first of equal ones.
    """
    if len(brain.graph.pending):
        raise ValueError("synapses are pending; consolidate() first")
    kind = _hebbian(brain, relation)
    pairs = sources.astype(np.uint32, copy=False), targets.astype(np.uint32, copy=False)
    brain.graph.require_rows(np.unique(pairs[0]))
    _, rate, limit, _ = brain.settings_of(kind)
    drawn = brain.noise_table(noise), negatives, np.float32(-strength)
    neurons, synapses = brain.graph.neurons, brain.graph.synapses
    index = words(neurons, np.uint32), words(neurons, np.uint64)
    rows = tuple(words(synapses, column) for column in (np.uint32, np.float32, np.uint8))
    right = np.zeros(brain.threads, np.int64)
    how = kind.index, drawn, (rate, limit), brain.draw(), right
    brain.graph.run(_learn_scored, len(sources), index, rows, *pairs, *how)
    brain.graph.touch_rows(np.unique(pairs[0]))
    return int(right.sum())


def _hebbian(brain: Brain, relation: str):
    kind = brain.relation(relation)
    if kind.rule_index != HEBBIAN:
        raise ValueError(f"rule of relation {relation!r} is {kind.rule!r}; allowed: hebbian")
    return kind


@numba.njit(inline="always")
def _random_bits(seed, counter):
    mixed = seed + (np.uint64(counter) + np.uint64(1)) * _STEP
    mixed = (mixed ^ (mixed >> _SHIFT_1)) * _MIX_1
    mixed = (mixed ^ (mixed >> _SHIFT_2)) * _MIX_2
    return mixed ^ (mixed >> _SHIFT_3)


@numba.njit(inline="always")
def _changed(weight, post, rate, limit):
    """Return a weight after the bounded Hebbian rule for a pre of 1."""
    side = ONE if post > 0 else -ONE
    return min(max(weight + rate * post * (limit - side * weight), -limit), limit)


@numba.njit(**KERNEL)
def _learn_dense(part, parts, weights, sources, targets, noise, settings, seed):
    table, negatives, activity = noise
    rate, limit = settings
    mask = np.uint64(len(table) - 1)
    for i in range(len(sources)):
        source = sources[i]
        if parts > 1 and source % np.uint32(parts) != part:
            continue
        target = targets[i]
        weights[source, target] = _changed(weights[source, target], ONE, rate, limit)
        for k in range(1, negatives + 1):
            bits = _random_bits(seed, i * (negatives + 1) + k)
            target = table[bits & mask]
            weights[source, target] = _changed(weights[source, target], activity, rate, limit)


@numba.njit(**KERNEL)
def _learn_scored(
    part, parts, index, rows, sources, targets, relation, noise, settings, seed, right
):
    neurons, long_neurons = index
    synapses, floats, kinds = rows
    table, negatives, activity = noise
    rate, limit = settings
    mask = np.uint64(len(table) - 1)
    drawn = np.empty(negatives, np.uint32)
    for i in range(len(sources)):
        source = sources[i]
        if parts > 1 and source % np.uint32(parts) != part:
            continue
        for k in range(negatives):
            drawn[k] = table[_random_bits(seed, i * (negatives + 1) + k + 1) & mask]
        first = np.int64(long_neurons[source, FIRST_SYNAPSE])
        end = first + np.int64(neurons[source, FAN_OUT])
        best, strongest, own = -1, np.float32(-np.inf), -1
        for edge in range(first, end):
            if kinds[edge, RELATION] != relation:
                continue
            if floats[edge, WEIGHT] > strongest:
                best, strongest = edge, floats[edge, WEIGHT]
            if synapses[edge, TARGET] == targets[i]:
                own = edge
        right[part] += best >= 0 and best == own
        if own >= 0:
            floats[own, WEIGHT] = _changed(floats[own, WEIGHT], ONE, rate, limit)
        _weaken(synapses, floats, kinds, first, end, relation, drawn, (activity, rate, limit))


@numba.njit
def _weaken(synapses, floats, kinds, first, end, relation, drawn, settings):
    """Weaken the synapses of one row to the neurons that were drawn; rows are sorted."""
    activity, rate, limit = settings
    for target in drawn:
        low, high = first, end
        while low < high:
            middle = (low + high) >> 1
            other = kinds[middle, RELATION]
            if other < relation or (other == relation and synapses[middle, TARGET] < target):
                low = middle + 1
            else:
                high = middle
        there = low < end and synapses[low, TARGET] == target
        if there and kinds[low, RELATION] == relation:
            floats[low, WEIGHT] = _changed(floats[low, WEIGHT], activity, rate, limit)
