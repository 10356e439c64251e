"""The rules by which synapses of neuron-graph change, each alone, as a curve."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from plasticity.companion import metrics
from plasticity.companion.configuration import ExperimentConfig, Runtime, check_range, setting
from plasticity.substrate import Brain

COLUMNS = ["step", "split", "metric", "value"]
Rows = Iterator[tuple[int, str, str, float]]

MODULATORS = (0.0, 0.25, 0.5, 1.0, 2.0)
INPUTS, COMPONENTS = 8, 3  # of Oja's and Sanger's rule
VARIANCES = 2.0 ** -np.arange(INPUTS)  # along the principal directions
SHARES = (0.5, 0.3, 0.15, 0.05)  # how often each of four targets follows
ADAM_DECAYS, ADAM_TINY = (0.9, 0.999), 1e-8
EPSILON = 0.1  # what consolidation prunes below
EVERY = 10  # updates between two points of a curve


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """How long each rule is followed."""

    updates: int = setting(2000, "updates of the rules that converge")
    uses: int = setting(1000, "uses that the rule of counts counts")
    draws: int = setting(2000, "episodes drawn for replay")

    def __post_init__(self):
        """Check ranges."""
        super().__post_init__()
        for name in ("updates", "uses", "draws"):
            check_range(name, getattr(self, name), 100, 1_000_000)


def datasets(config: Config) -> tuple[str, ...]:
    """Return the datasets that the run depends on: none."""
    return ()


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Follow every rule.

    Parameters
    ----------
    config : Config
    seed : int
    folder : Path
        Nothing is written into it.
    runtime : Runtime
        Not used.

    Returns
    -------
    pandas.DataFrame
        Columns step, split, metric, value, unit. Split names the rule and what of it is varied, as
        in ``oja, component 1``; step counts updates, ticks of delay, uses or episodes.
    """
    parts = (
        _modulators(),
        _bounded(),
        _contrast(seed),
        _principal("oja", 1, config.updates, seed),
        _principal("sanger", COMPONENTS, config.updates, seed),
        _delayed_reward(),
        _errors(config.updates, seed),
        _counts(config.uses, seed),
        _replay(config.draws, seed),
        _pruning(seed),
    )
    frame = pd.DataFrame([row for part in parts for row in part], columns=COLUMNS)
    return frame.assign(unit=[metrics.metric(name).unit for name in frame["metric"]])


def _modulators() -> Rows:
    """Yield the weight of the same pair, met again and again under different modulators."""
    for modulator in MODULATORS:
        brain = Brain()
        brain.neurons(["a", "b"])
        brain.relation("means", rule="hebbian", learning_rate=0.1, limit=1.0)
        brain.modulator = modulator
        for update in range(21):
            if update:
                brain.learn("a", "b", "means")
            weight = np.nan_to_num(brain.weights("a", "b", "means")[0])
            yield update, f"modulator {modulator}", "weight", weight


def _bounded() -> Rows:
    """Yield weights under the bounded Hebbian rule: together, apart, and now so, now so."""
    activity = {
        "together": lambda update: 1.0,
        "apart": lambda update: -1.0,
        "in turn": lambda update: 1.0 if update % 20 < 10 else -1.0,
    }
    brain = Brain()
    source = brain.neuron("source")
    brain.relation("means", rule="hebbian", learning_rate=0.1, limit=1.0)
    for name, post in activity.items():
        brain.connect(source, brain.neuron(name), 0.0, "means")
        for update in range(61):
            yield update, f"hebbian, {name}", "weight", brain.weights(source, name, "means")[0]
            brain.learn(source, name, "means", post=post(update))


def _contrast(seed: int) -> Rows:
    """Yield the mean weight of true pairs, and of those drawn as their negatives."""
    brain = Brain(seed=seed)
    words = brain.grow(12)
    brain.relation("means", rule="hebbian", learning_rate=0.05, limit=1.0)
    pairs = words[:6], words[6:]
    brain.connect(np.repeat(words[:6], 6), np.tile(words[6:], 6), 0.0, "means")
    noise = np.isin(words, words[6:]).astype(float)
    true = np.eye(6, dtype=bool).ravel()
    for update in range(61):
        weights = brain.weights(np.repeat(words[:6], 6), np.tile(words[6:], 6), "means")
        yield update, "contrast, pairs", "weight", weights[true].mean()
        yield update, "contrast, others", "weight", weights[~true].mean()
        brain.learn_contrast(*pairs, "means", noise, negatives=3, strength=0.3)


def _principal(rule: str, components: int, updates: int, seed: int) -> Rows:
    """Yield how well weights point along the principal directions of what they are shown."""
    random = np.random.default_rng(seed)
    directions, _ = np.linalg.qr(random.normal(size=(INPUTS, INPUTS)))
    brain = Brain(seed=seed)
    inputs, targets = brain.grow(INPUTS), brain.grow(components)
    brain.relation("features", rule=rule, learning_rate=0.05)
    ends = np.repeat(inputs, components), np.tile(targets, INPUTS)
    brain.connect(*ends, random.normal(0, 0.1, len(ends[0])), "features")
    brain.consolidate()
    for update in range(updates + 1):
        if update % EVERY == 0:
            weights = brain.weights(*ends, "features").reshape(INPUTS, components)
            for component in range(components):
                column = weights[:, component]
                cosine = abs((column * directions[:, component]).sum()) / np.sqrt((column**2).sum())
                yield update, f"{rule}, component {component + 1}", "alignment", cosine
        seen = (directions * (np.sqrt(VARIANCES) * random.normal(size=INPUTS))).sum(axis=1)
        brain.modulator = 1 / (1 + update / 200)  # anneals the learning rate
        answers = brain.spread(inputs, seen).activation(targets)
        brain.learn_rows(inputs, seen, targets, answers, "features")


def _delayed_reward() -> Rows:
    """Yield what a reward of 1 adds to a synapse used step ticks before, and the law of it."""
    for decay in (0.5, 0.8, 0.95):
        for delay in range(16):
            brain = Brain()
            brain.neurons(["a", "b"])
            brain.relation(
                "leads to", rule="reward", learning_rate=1.0, limit=2.0, eligibility_decay=decay
            )
            brain.learn("a", "b", "leads to")
            if delay:
                brain.spread([], cycles=delay)  # time passes
            brain.reward(1.0)
            weight = brain.weights("a", "b", "leads to")[0]
            yield delay, f"reward, decay {decay}", "weight", weight
            yield delay, f"reward, decay {decay}, law", "weight", decay**delay


def _errors(updates: int, seed: int) -> Rows:
    """Yield the squared error of a linear target under the delta rule and Adam of two precisions.

    The inputs differ in scale, so that one learning rate suits none but the largest; Adam gives
    each synapse its own. "float" is Adam with moments of 64 bits, outside the brain.
    """
    random = np.random.default_rng(seed)
    scales = np.geomspace(1, 0.1, INPUTS)
    wanted = random.normal(size=INPUTS) / scales
    seen = (random.normal(size=(updates, INPUTS)) * scales).astype(np.float32)
    answers = (seen * wanted).sum(axis=1)
    brain = Brain(seed=seed)
    inputs, [target] = brain.grow(INPUTS), brain.grow(1)
    for rule in ("delta", "adam"):
        brain.relation(rule, rule=rule, learning_rate=0.05)
        brain.connect(inputs, target, 0.0, rule)
    other, curves = FloatAdam(INPUTS, 0.05), {"delta": [], "adam": [], "float": []}
    for values, answer in zip(seen, answers, strict=True):
        for rule in ("delta", "adam"):
            said = brain.spread(inputs, values, relations=[rule]).activation(target)[0]
            curves[rule].append((answer - said) ** 2)
            brain.learn_rows(inputs, values, [target], answer - said, rule)
        error = answer - (other.weights * values).sum()
        curves["float"].append(error**2)
        other.step(error * values)
    for name, curve in curves.items():
        for end in range(50, updates + 1, 50):
            yield end, f"errors, {name}", "squared_error", np.mean(curve[end - 50 : end])
    ours = brain.weights(inputs, target, "adam")
    difference = np.abs(ours - other.weights).max() / np.abs(other.weights).max()
    yield 0, "errors, adam - float", "weight_difference", difference


class FloatAdam:
    """Adam (Kingma and Ba, 2015) with moments of 64 bits.

    Parameters
    ----------
    size : int
        Weights; they start at 0.
    learning_rate : float
    """

    def __init__(self, size: int, learning_rate: float):
        self.weights = np.zeros(size)
        self.learning_rate = learning_rate
        self._moments = np.zeros((2, size))
        self._steps = 0

    def step(self, slope: np.ndarray) -> None:
        """Go one step uphill."""
        self._steps += 1
        for moment, decay, value in zip(self._moments, ADAM_DECAYS, (slope, slope**2), strict=True):
            moment += (1 - decay) * (value - moment)
        first, second = (
            moment / (1 - decay**self._steps)
            for moment, decay in zip(self._moments, ADAM_DECAYS, strict=True)
        )
        self.weights += self.learning_rate * first / (np.sqrt(second) + ADAM_TINY)


def _counts(uses: int, seed: int) -> Rows:
    """Yield the weights that counts become, and the shares that were drawn."""
    brain = Brain(seed=seed)
    source, targets = brain.neuron("source"), brain.grow(len(SHARES))
    brain.relation("follows", rule="count")
    drawn = np.random.default_rng(seed).choice(len(SHARES), uses, p=SHARES)
    places = sorted({round(place) for place in np.geomspace(1, uses, 25)})
    for before, now in zip([0, *places], places, strict=False):
        brain.learn(source, targets[drawn[before:now]], "follows")
        brain.consolidate()
        weights = np.nan_to_num(brain.weights(source, targets, "follows"))
        counted = np.bincount(drawn[:now], minlength=len(SHARES)) / now
        for place, (weight, share) in enumerate(zip(weights, counted, strict=True)):
            yield now, f"count, target {place + 1}", "weight", weight
            difference = abs(weight - share)
            yield now, f"count, target {place + 1}", "weight_difference", difference


def _replay(draws: int, seed: int) -> Rows:
    """Yield how often each episode is lived again, and what that does to its synapse.

    Ten episodes of one step each, of rewards from 0 to 0.9.
    """
    brain = Brain(seed=seed)
    source, targets = brain.neuron("source"), brain.grow(10)
    brain.relation("leads to", rule="reward", learning_rate=0.01, limit=1.0)
    rewards = np.arange(10) / 10
    for target, reward in zip(targets, rewards, strict=True):
        brain.record([(source, target, "leads to", 1.0, 1.0)], reward)
    lived = np.bincount(brain.replay(draws), minlength=10)
    weights = np.nan_to_num(brain.weights(source, targets, "leads to"))
    law = rewards / rewards.sum()
    for episode in range(10):
        yield episode, "replay", "replay_share", 100 * lived[episode] / draws
        yield episode, "replay, law", "replay_share", 100 * law[episode]
        yield episode, "replay", "weight", weights[episode]


def _pruning(seed: int) -> Rows:
    """Yield how many synapses are in rows and pending, before and after consolidation."""
    random = np.random.default_rng(seed)
    brain = Brain(seed=seed)
    neurons = brain.grow(40)
    ends = random.integers(0, len(neurons), (2, 300))
    brain.connect(neurons[ends[0]], neurons[ends[1]], random.normal(0, 0.3, 300))
    for step, work in enumerate((None, brain.consolidate, lambda: brain.consolidate(EPSILON))):
        if work:
            work()
        for place in ("rows", "pending"):
            held = {"rows": brain.graph.synapses, "pending": brain.graph.pending}[place]
            yield step, f"consolidation, {place}", "synapses", len(held)
            for low, high in zip(np.arange(-10, 10) / 10, np.arange(-9, 11) / 10, strict=True):
                count = ((held["weight"] >= low) & (held["weight"] < high)).sum()
                yield round(100 * low), f"consolidation {step}, {place}", "synapses", count
