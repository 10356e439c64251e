"""A brain that grows, learns and is kept, to be killed at any moment."""

import json

import numpy as np

from plasticity.substrate import Brain


class BrainWorkload:
    """Everything that changes a brain, in a mix that depends on the seed and the step."""

    def __init__(self, seed: int):
        self.seed = seed

    def create(self, folder):
        brain = self.fresh()
        brain.save(folder)
        brain.close()

    def open(self, folder):
        return Brain.open(folder, "w")

    def close(self, brain):
        brain.close()

    def fresh(self):
        brain = Brain(seed=self.seed)
        brain.relation("pairs", rule="hebbian", limit=1.0)
        brain.relation("acts", rule="reward", learning_rate=0.2)
        brain.relation("moments", rule="adam")
        brain.group("rivals", winners=3)
        brain.store.meta["step"] = 0
        return brain

    def step(self, brain, number):
        random = np.random.default_rng([self.seed, number])
        brain.neurons(
            [f"neuron {random.integers(0, 40 * number)}" for _ in range(30)],
            leak=0.5,
            group="rivals",
        )
        ends = random.integers(0, len(brain), (2, 200))
        for relation in ("pairs", "acts", "moments"):
            brain.learn(*ends, relation, post=random.normal(size=200))
        brain.learn_contrast(*ends, "pairs", np.ones(len(brain)))
        brain.memory.hold(ends[0, :2])
        brain.spread(ends[0, :20], cycles=2)
        brain.reward(random.normal())
        brain.record([(*ends[:, 0], "acts", 1, 1)], reward=random.normal())
        if random.random() < 0.2:
            brain.consolidate(epsilon=0.01, replay=2)
        if random.random() < 0.2:
            brain.forget_eligibility()
        brain.modulator = random.random()
        brain.store.meta["step"] = number

    def keep(self, brain, number):
        if number % 5 == 0:
            brain.checkpoint()
        else:
            brain.commit()

    def number(self, brain):
        return brain.store.meta["step"]

    def state(self, brain):
        brain._note()
        store = brain.store
        for name in store.names:
            store.require(name)
        contents = {name: store[name].tobytes() for name in store.names}
        return contents | {"meta": json.dumps(store.meta, sort_keys=True).encode()}
