"""Layouts beside the graph for what touches every pair: rebuilt from its synapses, written back.

The graph stays the truth. `DensePairs` holds one relation as a matrix of weights, for Hebbian
learning between neurons of which nearly every pair has a synapse. `learn_scored` looks at the
weight of every synapse of the source before each pair, as a predictor would. It takes the pairs of
one source after another, in their order, so that these weights can lie side by side in a copy of
the row: synapses of different sources do not touch each other, so that nothing else changes.
"""

import numba
import numpy as np

from plasticity.substrate.brain import Brain
from plasticity.substrate.kernels import KERNEL
from plasticity.substrate.rules import HEBBIAN
from plasticity.substrate.structures import RELATION, TARGET, WEIGHT, words

ONE = np.float32(1)
BLOCK = 256  # pairs of a part dealt with in one go
CHUNK = 256  # weights of which the largest is found in one go
LOWEST = np.int32(-(2**31))
_SPREAD = np.uint32(0x9E3779B9)  # Knuth's multiplicative hash
_HALF, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)
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

    Raises
    ------
    ValueError
        For a relation of another rule, or more neurons than there are.

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
        if not 0 <= count <= len(brain):
            raise ValueError(f"count is {count}; allowed: 0 to {len(brain)}, the brain's neurons")
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

        Raises
        ------
        IndexError
            For a neuron that takes no part, in a pair or to be drawn.
        ValueError
            For more sources than targets, or fewer.
        """
        brain = self._brain
        pairs, table = _pairs(brain, sources, targets), brain.noise_table(noise)
        # The table ascends: its last neuron is the highest.
        for name, ends in (("sources", pairs[0]), ("targets", pairs[1]), ("noise", table[-1:])):
            if len(ends) and ends.max() >= len(self.weights):
                raise IndexError(
                    f"{name} holds neuron {ends.max()}; allowed: 0 to {len(self.weights) - 1}"
                )
        _, rate, limit, _ = brain.settings_of(self._kind)
        drawn = table, negatives, np.float32(-strength)
        how = self.weights, *pairs, drawn, (rate, limit), brain.draw()
        brain.graph.run(_learn_dense, len(pairs[0]), *how)

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

    Raises
    ------
    IndexError
        For a neuron that does not exist.
    ValueError
        While synapses are pending, for a relation of another rule, or for more sources than
        targets, or fewer.
    """
    if len(brain.graph.pending):
        raise ValueError("synapses are pending; consolidate() first")
    kind = _hebbian(brain, relation)
    sources, targets = _pairs(brain, sources, targets)
    if not len(sources):
        return 0
    # Sorted by source, equal ones in their order: numbers of which none are equal sort fastest.
    keys = np.sort(sources.astype(np.uint64) << _HALF | np.arange(len(sources), dtype=np.uint64))
    order, ranked = (keys & _LOW).astype(np.int64), keys >> _HALF
    starts = np.flatnonzero(np.diff(ranked, prepend=ranked[0] + 1))
    origins = ranked[starts].astype(np.uint32)
    ends = np.append(starts, len(sources))
    brain.graph.require_rows(origins)
    _, rate, limit, _ = brain.settings_of(kind)
    drawn = brain.noise_table(noise), negatives, np.float32(-strength)
    records = brain.graph.neurons[origins]
    rows = records["first_synapse"].astype(np.int64), records["fan_out"].astype(np.int64)
    groups = ends, *rows, order
    right = np.zeros(brain.threads, np.int64)
    # Each part has sources of about as many weights to look at.
    costs = np.cumsum(np.diff(ends) * (rows[1] + 1))
    how = kind.index, drawn, (rate, limit), brain.draw(), costs, right
    views = tuple(words(brain.graph.synapses, k) for k in (np.uint32, np.float32, np.uint8))
    brain.graph.run(_learn_scored, len(sources), views, groups, targets, *how)
    brain.graph.touch_rows(origins)
    return int(right.sum())


def _hebbian(brain: Brain, relation: str):
    kind = brain.relation(relation)
    if kind.rule_index != HEBBIAN:
        raise ValueError(f"rule of relation {relation!r} is {kind.rule!r}; allowed: hebbian")
    return kind


def _pairs(brain: Brain, sources, targets) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of pairs, uint32, checked: compiled code looks at no bounds."""
    sources, targets = brain.indexes(sources), brain.indexes(targets)
    if len(sources) != len(targets):
        raise ValueError(
            f"sources holds {len(sources)} neurons, targets {len(targets)}; allowed: as many"
        )
    return sources, targets


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
    own = np.empty(BLOCK, np.int64)
    i = 0
    while i < len(sources):
        pairs = 0
        while i < len(sources) and pairs < BLOCK:  # without a branch on whose pair it is
            own[pairs] = i
            spread = np.uint64(np.uint32(sources[i] * _SPREAD))
            pairs += (spread * np.uint64(parts) >> _HALF) == np.uint64(part)
            i += 1
        for pair in own[:pairs]:
            row, target = weights[np.uint64(sources[pair])], np.uint64(targets[pair])
            row[target] = _changed(row[target], ONE, rate, limit)
            for k in range(1, negatives + 1):
                bits = _random_bits(seed, pair * (negatives + 1) + k)
                target = np.uint64(table[bits & mask])
                row[target] = _changed(row[target], activity, rate, limit)


@numba.njit(inline="always")
def _lower_bound(first, end, synapses, kinds, relation, target):
    """Return where in a row a synapse stands, or would stand."""
    while first < end:
        middle = (first + end) >> 1
        other = kinds[middle, RELATION]
        if other < relation or (other == relation and synapses[middle, TARGET] < target):
            first = middle + 1
        else:
            end = middle
    return first


@numba.njit(inline="always")
def _ordered(bits):
    """Return a whole number of the order of the float32 of these bits; both zeros give 0."""
    return bits if bits >= 0 else np.int32(LOWEST - bits)


@numba.njit
def _strongest(weights):
    """Return the place of the first of the largest weights, -1 without any; looks at each.

    As whole numbers, because compilers do not reorder comparisons of floats: four times as fast.
    """
    bits = weights.view(np.int32)
    largest, best = LOWEST, 0
    for start in range(0, len(bits), CHUNK):
        chunk = bits[start : start + CHUNK]
        most = LOWEST
        for i in range(len(chunk)):
            value = _ordered(chunk[i])
            if value > most:
                most = value
        if most > largest:
            largest, best = most, start
    for i in range(best, len(bits)):
        if _ordered(bits[i]) == largest:
            return i
    return -1


@numba.njit(inline="always")
def _position(targets, target):
    """Return where a target stands in an ascending list, or -1."""
    place = np.searchsorted(targets, target)
    return place if place < len(targets) and targets[place] == target else -1


@numba.njit(**KERNEL)
def _learn_scored(
    part, parts, views, groups, targets, relation, noise, settings, seed, costs, right
):
    """Learn source after source, in a copy of its weights that lie side by side."""
    synapses, floats, kinds = views
    ends, firsts, fan_outs, order = groups
    table, negatives, activity = noise
    rate, limit = settings
    mask = np.uint64(len(table) - 1)
    longest = fan_outs.max()
    all_weights, all_targets = np.empty(longest, np.float32), np.empty(longest, np.uint32)
    for group in range(len(firsts)):
        if (costs[group] - 1) * parts // costs[-1] != part:
            continue
        row_end = firsts[group] + fan_outs[group]
        first = _lower_bound(firsts[group], row_end, synapses, kinds, relation, 0)
        end = _lower_bound(first, row_end, synapses, kinds, relation + 1, 0)
        weights, row = all_weights[: end - first], all_targets[: end - first]
        weights[:], row[:] = floats[first:end, WEIGHT], synapses[first:end, TARGET]
        for i in order[ends[group] : ends[group + 1]]:
            best, own = _strongest(weights), _position(row, targets[i])
            if own >= 0:
                right[part] += best == own
                weights[own] = _changed(weights[own], ONE, rate, limit)
            for k in range(1, negatives + 1):
                bits = _random_bits(seed, i * (negatives + 1) + k)
                place = _position(row, table[bits & mask])
                if place >= 0:
                    weights[place] = _changed(weights[place], activity, rate, limit)
        floats[first:end, WEIGHT] = weights
