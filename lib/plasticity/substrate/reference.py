"""The graph once more in plain Python: slow, obvious, and what the kernels are held to.

Numbers are float32 wherever the kernels' are, and are added in the same order, so that most results
must agree to the last bit.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from plasticity.substrate.rules import Relation

ONE, ZERO = np.float32(1), np.float32(0)
_MASK = 2**64 - 1


@dataclass
class ReferenceSynapse:
    """One synapse and what its rule remembers, unpacked."""

    source: int
    target: int
    relation: int
    weight: np.float32 = ZERO
    first_moment: float = 0.0
    second_moment: float = 0.0
    steps: int = 0
    eligibility: float = 0.0
    eligibility_tick: int = 0
    count: int = 0


@dataclass
class ReferenceNeuron:
    """One neuron."""

    activation: np.float32 = ZERO
    threshold: np.float32 = ZERO
    leak: np.float32 = ZERO
    bias: np.float32 = ZERO
    gain: np.float32 = ONE
    last_tick: int = 0
    fires: int = 0
    group: int = 0


@dataclass
class ReferenceBrain:
    """The semantics of `Brain`, with lists and dictionaries."""

    relations: list[Relation]
    winners: dict[int, int] = field(default_factory=dict)
    neurons: list[ReferenceNeuron] = field(default_factory=list)
    rows: dict[int, list[ReferenceSynapse]] = field(default_factory=dict)
    pending: dict[int, list[ReferenceSynapse]] = field(default_factory=dict)
    tick: int = 0
    modulator: float = 1.0

    def find(self, source: int, target: int, relation: int) -> ReferenceSynapse | None:
        """Return a synapse, or None."""
        for synapse in self.leaving(source):
            if (synapse.target, synapse.relation) == (target, relation):
                return synapse
        return None

    def leaving(self, source: int) -> list[ReferenceSynapse]:
        """Return what leads away from a neuron: its row, then the pending, newest first."""
        return [*self.rows.get(source, []), *reversed(self.pending.get(source, []))]

    def grown(self, source: int, target: int, relation: int) -> ReferenceSynapse:
        """Return a synapse, grown where it is missing."""
        found = self.find(source, target, relation)
        if found is None:
            found = ReferenceSynapse(source, target, relation)
            self.pending.setdefault(source, []).append(found)
        return found

    def merge(self) -> None:
        """Sort the pending synapses into the rows."""
        for source, grown in self.pending.items():
            row = [*self.rows.get(source, []), *grown]
            self.rows[source] = sorted(row, key=lambda s: (s.relation, s.target))
        self.pending = {}

    def learn(self, source: int, target: int, relation: int, pre: float, post: float) -> None:
        """Change one synapse by its rule, growing it first where it is missing."""
        synapse = self.grown(source, target, relation)
        post = np.float32(post)
        self._change(synapse, np.float32(pre), post, post * synapse.weight)

    def learn_rows(self, pre: dict[int, float], post: dict[int, float], relation: int) -> None:
        """Change every synapse from the sources to the targets."""
        for source, activity in pre.items():
            running = ZERO
            for synapse in self.leaving(source):
                if synapse.relation != relation or synapse.target not in post:
                    continue
                target_post = np.float32(post[synapse.target])
                own = target_post * synapse.weight
                running = running + own
                sanger = self.relations[relation].rule == "sanger"
                feedback = running if sanger else own
                self._change(synapse, np.float32(activity), target_post, feedback)

    def reward(self, value: float, expected: float = 0.0) -> None:
        """Turn eligibility into weight."""
        surprise = np.float32(value - expected)
        for synapse in self.every_synapse():
            kind = self.relations[synapse.relation]
            if kind.rule == "reward" and synapse.eligibility:
                gain = self._rate(kind) * surprise * self._eligibility(synapse, kind)
                synapse.weight = _clipped(synapse.weight + gain, kind.limit)

    def every_synapse(self) -> list[ReferenceSynapse]:
        """Return all synapses."""
        sources = range(len(self.neurons))
        return [synapse for source in sources for synapse in self.leaving(source)]

    def spread(
        self,
        values: dict[int, float],
        cycles: int,
        goals: dict[int, float] | None = None,
        boosts: dict[int, float] | None = None,
    ) -> tuple[dict[int, np.float32], dict[int, np.float32]]:
        """Return what emits after the last cycle, and the activation of everything hit in it."""
        frontier = {neuron: np.float32(values[neuron]) for neuron in sorted(values)}
        goals, boosts = goals or {}, boosts or {}
        for _ in range(cycles):
            self.tick += 1
            hit = self._activations(self._totals(frontier), goals, boosts)
            frontier = self._emitted(hit)
        return frontier, hit

    def _totals(self, frontier: dict[int, np.float32]) -> dict[int, np.float32]:
        totals: dict[int, np.float32] = {}
        for source, value in frontier.items():
            for synapse in self.leaving(source):
                sign = np.float32(self.relations[synapse.relation].sign)
                before = totals.get(synapse.target, ZERO)
                totals[synapse.target] = before + (sign * synapse.weight) * value
        return {neuron: total for neuron, total in totals.items() if total != 0}

    def _activations(self, totals, goals, boosts) -> dict[int, np.float32]:
        hit = {}
        for index in sorted(totals.keys() | goals.keys()):
            neuron = self.neurons[index]
            kept = _power(neuron.leak, self.tick - neuron.last_tick) * neuron.activation
            scale = neuron.gain * np.float32(boosts.get(index, 1))
            constant = np.float32(goals.get(index, 0)) + neuron.bias
            neuron.activation = kept + scale * totals.get(index, ZERO) + constant
            neuron.last_tick = self.tick
            hit[index] = neuron.activation
        return hit

    def _emitted(self, hit: dict[int, np.float32]) -> dict[int, np.float32]:
        passing = [index for index in hit if hit[index] > self.neurons[index].threshold]
        for group, places in self.winners.items():
            rivals = [index for index in passing if self.neurons[index].group == group]
            rivals.sort(key=lambda index: (-hit[index], index))
            if places:
                passing = [index for index in passing if index not in rivals[places:]]
        for index in passing:
            self.neurons[index].fires += 1
        return {index: hit[index] for index in sorted(passing)}

    def _rate(self, kind: Relation) -> np.float32:
        return np.float32(kind.learning_rate * self.modulator)

    def _eligibility(self, synapse: ReferenceSynapse, kind: Relation) -> np.float32:
        elapsed = (self.tick - synapse.eligibility_tick) % 2**16
        decay = np.float64(np.float32(kind.eligibility_decay))
        return np.float32(synapse.eligibility) * np.float32(decay**elapsed)

    def _change(self, synapse: ReferenceSynapse, pre, post, feedback) -> None:
        kind = self.relations[synapse.relation]
        rate, weight = self._rate(kind), synapse.weight
        if kind.rule == "hebbian":
            both = pre * post
            side = ONE if both > 0 else -ONE
            weight = weight + rate * both * (np.float32(kind.limit) - side * weight)
        elif kind.rule in ("oja", "sanger"):
            weight = weight + rate * post * (pre - feedback)
        elif kind.rule == "delta":
            weight = weight + rate * pre * post
        elif kind.rule == "adam":
            weight = weight + rate * np.float32(_adam(synapse, float(pre * post)))
        elif kind.rule == "reward":
            value = self._eligibility(synapse, kind) + pre * post
            synapse.eligibility = float(np.clip(np.rint(value * 2**14), -32767, 32767)) / 2**14
            synapse.eligibility_tick, synapse.steps = self.tick, synapse.steps + 1
        elif kind.rule == "count":
            synapse.count += 1
        synapse.weight = _clipped(weight, kind.limit)


def random_bits(seed: int, counter: int) -> int:
    """Return 64 bits that depend on a seed and a counter: SplitMix64.

    Examples
    --------
    >>> hex(random_bits(0, 0))  # the first output of the published generator for seed 0
    '0xe220a8397b1dcdaf'
    """
    mixed = (seed + (counter + 1) * 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return mixed ^ (mixed >> 31)


def _adam(synapse: ReferenceSynapse, slope: float) -> float:
    """Return Adam's step with moments in full precision: those of the kernel are rounded."""
    synapse.steps += 1
    synapse.first_moment = 0.9 * synapse.first_moment + 0.1 * slope
    synapse.second_moment = 0.999 * synapse.second_moment + 0.001 * slope**2
    first = synapse.first_moment / (1 - 0.9**synapse.steps)
    second = synapse.second_moment / (1 - 0.999**synapse.steps)
    return first / (math.sqrt(second) + 1e-8)


def _power(base: np.float32, exponent: int) -> np.float32:
    """Return a whole power by squaring, as the kernel does."""
    result = ONE
    while exponent:
        if exponent & 1:
            result = result * base
        base = base * base
        exponent >>= 1
    return result


def _clipped(value: np.float32, limit: float) -> np.float32:
    return np.float32(min(max(value, np.float32(-limit)), np.float32(limit)))
