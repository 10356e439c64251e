"""The layouts beside the graph give what the graph gives, to the last bit."""

import numpy as np
import pytest

from plasticity.substrate import Brain
from plasticity.substrate.fast import DensePairs, learn_scored

COUNT = 30


def pairs_and_noise(seed, pairs=40_000):  # enough to be cut into parts
    generator = np.random.default_rng(seed)
    sources, targets = generator.integers(0, COUNT, (2, pairs)).astype(np.uint32)
    return sources, targets, np.bincount(targets, minlength=COUNT)


def complete(threads=1):
    """Return a brain in which every pair has a synapse."""
    brain = Brain(seed=8, threads=threads)
    brain.relation("pairs", rule="hebbian", limit=1.0, learning_rate=0.3)
    brain.grow(COUNT)
    every = np.arange(COUNT)
    weights = np.random.default_rng(1).uniform(-1, 1, (COUNT, COUNT))
    brain.connect(every[:, None], every[None], weights, "pairs")
    brain.consolidate()
    return brain


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_dense_pairs_learn_what_the_graph_learns(threads):
    plain, dense = complete(), complete(threads)
    sources, targets, noise = pairs_and_noise(0)
    plain.learn_contrast(sources, targets, "pairs", noise)
    matrix = DensePairs(dense, "pairs", COUNT)
    matrix.learn_contrast(sources, targets, noise)
    assert (matrix.weights.ravel() == plain.edges("pairs")["weight"]).all()
    matrix.write_back()
    assert (dense.edges() == plain.edges()).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_scored_pairs_learn_what_the_graph_learns_and_count_what_was_predicted(threads):
    plain, scored = complete(), complete(threads)
    sources, targets, noise = pairs_and_noise(3, pairs=300)
    right = 0
    for source, target in zip(sources, targets, strict=True):
        row = plain.synapses(source)
        right += row["target"][np.argmax(row["weight"])] == target
        plain.learn_contrast(source, target, "pairs", noise, negatives=0)
    assert learn_scored(scored, sources, targets, "pairs", noise, negatives=0) == right
    assert (plain.edges() == scored.edges()).all()
    plain, scored = complete(), complete(threads)
    plain.learn_contrast(sources, targets, "pairs", noise)
    learn_scored(scored, sources, targets, "pairs", noise)
    assert (plain.edges() == scored.edges()).all()


def test_what_they_cannot_do_is_refused():
    brain = complete()
    brain.relation("other", rule="delta")
    with pytest.raises(ValueError, match="rule of relation 'other' is 'delta'; allowed: hebbian"):
        DensePairs(brain, "other", COUNT)
    brain.connect(0, 1, 1.0, "other")
    with pytest.raises(ValueError, match="pending"):
        learn_scored(brain, *pairs_and_noise(0)[:2], "pairs", np.ones(COUNT))
