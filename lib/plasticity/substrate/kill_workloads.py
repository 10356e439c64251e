"""What is killed at random moments by `plasticity.substrate.kills`: a store, and a brain on one.

Every change depends on the seed, the step and the state only, so that it can be done again.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

import plasticity.substrate as substrate  # its Brain is loaded only where it is used
from plasticity.substrate.store import Store
from plasticity.substrate.structures import NEURON_DTYPE, PENDING_DTYPE, SYNAPSE_DTYPE


class Workload:
    """Something durable that grows and learns, step by step; a base class.

    Parameters
    ----------
    seed : int
    """

    def __init__(self, seed: int):
        self.seed = seed

    def fresh(self):
        """Return it at step 0, in memory only."""
        raise NotImplementedError

    def open(self, folder: Path, mode: str = "w"):
        """Open what was saved in a folder, to write or (``"r"``) to read."""
        raise NotImplementedError

    def grow(self, subject, random: np.random.Generator, number: int) -> None:
        """Let it grow, in step ``number``."""
        raise NotImplementedError

    def learn(self, subject, random: np.random.Generator) -> None:
        """Change what it holds."""
        raise NotImplementedError

    def store(self, subject) -> Store:
        """Return the store that holds it, with all that is to be kept noted there."""
        raise NotImplementedError

    def create(self, folder: Path) -> None:
        """Save it at step 0 into a new folder."""
        subject = self.fresh()
        subject.save(folder)
        subject.close()

    def step(self, subject, number: int, say: Callable[[str, int], None] | None = None) -> None:
        """Do a step in memory, and say before each part of it what comes."""
        random = np.random.default_rng([self.seed, number])
        for doing, change in (
            ("growing", lambda: self.grow(subject, random, number)),
            ("learning", lambda: self.learn(subject, random)),
        ):
            if say:
                say(doing, number)
            change()
        self.store(subject).meta["step"] = number

    def number(self, subject) -> int:
        """Return the last step that it holds."""
        return self.store(subject).meta["step"]

    def state(self, subject) -> dict[str, bytes]:
        """Return all that it holds, by name."""
        store = self.store(subject)
        for name in store.names:
            store.require(name)
        contents = {name: store[name].tobytes() for name in store.names}
        return contents | {"meta": json.dumps(store.meta, sort_keys=True).encode()}


class StoreWorkload(Workload):
    """A store under every operation that it has; learning overwrites records."""

    def fresh(self):
        """Return a store of three empty arrays."""
        store = Store()
        store.create("neurons", NEURON_DTYPE)
        store.create("synapses", SYNAPSE_DTYPE)
        store.create("pending", PENDING_DTYPE)
        store.meta["step"] = 0
        return store

    def open(self, folder, mode="w"):
        """Open a store."""
        return Store.open(folder, mode)

    def store(self, subject):
        """Return it."""
        return subject

    def grow(self, subject, random, number):
        """Lengthen some of the arrays; in step 3, add one."""
        if number == 3:
            subject.create("text", np.uint8)
        for name in subject.names:
            if random.random() < 0.7:
                first = subject.extend(name, int(random.integers(1, 400)))
                self._write(subject, name, slice(first, None), random)

    def learn(self, subject, random):
        """Overwrite records here and there; sometimes replace and shorten arrays."""
        for name in subject.names:
            subject.require(name)
            if len(subject[name]) and random.random() < 0.7:
                where = random.integers(0, len(subject[name]), random.integers(1, 20))
                self._write(subject, name, where, random)
        if random.random() < 0.1:
            subject.replace("synapses", subject["synapses"][::2])
            subject.shrink("pending", len(subject["pending"]) // 3)

    def _write(self, store, name, where, random):
        records = store[name]
        words = records.view(np.uint8).reshape(len(records), -1)
        words[where] = random.integers(0, 256, words[where].shape, np.uint8)
        store.touch(name, where)


class BrainWorkload(Workload):
    """A brain under everything that changes one."""

    def fresh(self):
        """Return a brain with relations and a group, without neurons."""
        brain = substrate.Brain(seed=self.seed)
        brain.relation("pairs", rule="hebbian", limit=1.0)
        brain.relation("acts", rule="reward", learning_rate=0.2)
        brain.relation("moments", rule="adam")
        brain.group("rivals", winners=3)
        brain.store.meta["step"] = 0
        return brain

    def open(self, folder, mode="w"):
        """Open a brain."""
        return substrate.Brain.open(folder, mode)

    def store(self, subject):
        """Return the brain's store."""
        subject._note()
        return subject.store

    def grow(self, subject, random, number):
        """Name neurons, some of which are new, and connect some."""
        names = [f"neuron {random.integers(0, 40 * number)}" for _ in range(30)]
        subject.neurons(names, leak=0.5, group="rivals")
        subject.connect(*random.integers(0, len(subject), (2, 100)), 0.0, "pairs")

    def learn(self, subject, random):
        """Spread, learn by every kind of rule, replay and consolidate."""
        ends = random.integers(0, len(subject), (2, 200))
        for relation in ("pairs", "acts", "moments"):
            subject.learn(*ends, relation, post=random.normal(size=200))
        subject.learn_contrast(*ends, "pairs", np.ones(len(subject)))
        subject.memory.hold(ends[0, :2])
        subject.spread(ends[0, :20], cycles=2)
        subject.reward(random.normal())
        subject.record([(*ends[:, 0], "acts", 1, 1)], reward=random.normal())
        if random.random() < 0.2:
            subject.consolidate(epsilon=0.01, replay=2)
        if random.random() < 0.2:
            subject.forget_eligibility()
        subject.modulator = random.random()
