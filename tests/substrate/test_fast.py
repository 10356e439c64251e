"""The layouts beside the graph give what the graph gives, to the last bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plasticity.substrate import Brain, kernels
from plasticity.substrate.fast import DensePairs, learn_scored
from plasticity.substrate.reference import ReferenceBrain, random_bits

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


@st.composite
def stages(draw):
    """A few calls of learn_contrast, some after consolidation, on neurons with two relations."""
    ends = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=400)
    calls = draw(st.lists(st.tuples(st.booleans(), ends, st.integers(0, 4)), max_size=4))
    return draw(ends), calls


@settings(max_examples=30, deadline=None)
@given(stages())
def test_contrast_is_that_of_the_reference(stages):
    others, calls = stages
    brain = Brain(seed=5)
    brain.relation("before", rule="hebbian", limit=1.0)
    kind = brain.relation("pairs", rule="hebbian", limit=1.0, learning_rate=0.3)
    brain.relation("after", rule="hebbian", limit=1.0)
    brain.grow(6)
    brain.connect(*np.array(others).T, 0.5, "before")
    brain.connect(*np.array(others).T, 0.5, "after")
    plain = ReferenceBrain([brain.relation("next"), brain.relation("before"), kind])
    noise = np.arange(1, 7)
    for consolidate, pairs, negatives in calls:
        if consolidate:
            brain.consolidate()
        twin = Brain(seed=5)
        twin._draws = brain._draws
        table, seed = twin.noise_table(noise), int(twin.draw())
        brain.learn_contrast(*np.array(pairs).T, "pairs", noise, negatives, strength=0.2)
        known = {(s.source, s.target) for row in plain.pending.values() for s in row}
        for place, (source, target) in enumerate(pairs):
            plain.learn(source, target, kind.index, 1.0, 1.0)
            for k in range(1, negatives + 1):
                bits = random_bits(seed, place * (1 + negatives) + k)
                drawn = int(table[bits % len(table)])
                if (source, drawn) in known:
                    plain.learn(source, drawn, kind.index, 1.0, -0.2)
    edges = brain.edges("pairs")
    learnt = {(s.source, s.target): s.weight for row in plain.pending.values() for s in row}
    assert len(edges) == len(learnt)
    for edge in edges:
        assert edge["weight"] == learnt[edge["source"], edge["target"]]
    assert (brain.edges("before")["weight"] == 0.5).all()
    assert (brain.edges("after")["weight"] == 0.5).all()


def test_pending_synapses_whose_hashes_look_alike_are_told_apart():
    brain = Brain()
    kind = brain.relation("pairs", rule="hebbian", limit=1.0)
    brain.grow(4)
    brain.connect([0, 1], [2, 3], [0.25, 0.75], "pairs")
    slots = brain.graph.arrays[-1]
    mixed = int(kernels._hash(np.uint32(1), np.uint32(3), np.uint8(kind.index)))
    tag, home = mixed >> 32 << 32, mixed % len(slots)
    # As if the first synapse had the second one's hash, and had come before it.
    slots[home], slots[(home + 1) % len(slots)] = tag | 1, tag | 2
    assert brain.weights(1, 3, "pairs") == 0.75
    slots[(home + 1) % len(slots)] = 0
    assert np.isnan(brain.weights(1, 3, "pairs"))


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


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_scores_are_of_one_relation_and_the_first_of_the_strongest_is_predicted(threads):
    generator = np.random.default_rng(7)
    brain = Brain(seed=8, threads=threads)
    brain.grow(600)
    for name in ("before", "pairs", "after"):
        brain.relation(name, rule="hebbian", limit=1.0, learning_rate=0.3)
    # Neuron 0 leads to all, neuron 1 to many, neuron 2 to none; few weights, so that many tie.
    ends = np.concatenate([np.zeros(600, int), np.ones(300, int)]), np.r_[:600, :600:2]
    weights = generator.choice(np.float32([-1, -0.5, -0.0, 0.0]), 900)
    brain.connect(*ends, weights, "pairs")
    brain.connect(*ends, 1.0, "before")
    brain.connect(*ends, 1.0, "after")
    brain.consolidate()
    sources = generator.integers(0, 3, 40_000)
    targets = generator.integers(0, 600, 40_000)
    # Without negatives and without change: what is strongest is known beforehand.
    brain.modulator = 0.0
    right = 0
    for source in (0, 1):
        edges = brain.edges("pairs")
        row = edges[edges["source"] == source]
        best = row["target"][np.argmax(row["weight"])]
        right += ((sources == source) & (targets == best)).sum()
    noise = np.ones(600)
    assert right > 0
    assert learn_scored(brain, sources, targets, "pairs", noise, negatives=0) == right
    assert (brain.edges("pairs")["weight"] == weights).all()
    # With change: what is learnt is what the graph learns where there is a synapse.
    brain.modulator = 1.0
    there = ~np.isnan(brain.weights(sources, targets, "pairs"))
    plain = Brain(seed=8)
    learn_scored(brain, sources[there], targets[there], "pairs", noise)
    assert (brain.edges("before")["weight"] == 1).all()
    assert (brain.edges("after")["weight"] == 1).all()
    plain.grow(600)
    plain.relation("pairs", rule="hebbian", limit=1.0, learning_rate=0.3)
    plain.connect(*ends, weights, "pairs")
    plain._draws = brain._draws - 1
    plain.learn_contrast(sources[there], targets[there], "pairs", noise)
    assert (plain.edges("pairs")["weight"] == brain.edges("pairs")["weight"]).all()


def test_what_they_cannot_do_is_refused():
    brain = complete()
    brain.relation("other", rule="delta")
    with pytest.raises(ValueError, match="rule of relation 'other' is 'delta'; allowed: hebbian"):
        DensePairs(brain, "other", COUNT)
    brain.connect(0, 1, 1.0, "other")
    with pytest.raises(ValueError, match="pending"):
        learn_scored(brain, *pairs_and_noise(0)[:2], "pairs", np.ones(COUNT))


def test_neurons_outside_and_ends_without_a_partner_are_refused():
    brain = complete()
    brain.grow(1)  # a neuron that takes no part
    dense, noise = DensePairs(brain, "pairs", COUNT), np.ones(COUNT)
    before, draws = dense.weights.copy(), brain._draws
    for sources, targets, message in (
        ([COUNT], [0], "sources holds neuron 30; allowed: 0 to 29"),
        ([0], [COUNT], "targets holds neuron 30; allowed: 0 to 29"),
        ([0], [-1], "neuron is -1; allowed: 0 to 30"),
    ):
        with pytest.raises(IndexError, match=message):
            dense.learn_contrast(np.array(sources), np.array(targets), noise)
    with pytest.raises(IndexError, match="noise holds neuron 30; allowed: 0 to 29"):
        dense.learn_contrast(np.array([0]), np.array([1]), np.ones(COUNT + 1))
    with pytest.raises(IndexError, match="neuron is 31; allowed: 0 to 30"):
        learn_scored(brain, np.array([0]), np.array([COUNT + 1]), "pairs", noise)
    many, one = np.zeros(50, int), np.ones(1, int)
    for ends in ((many, one), (one, many)):
        message = f"sources holds {len(ends[0])} neurons, targets {len(ends[1])}; allowed: as many"
        with pytest.raises(ValueError, match=message):
            dense.learn_contrast(*ends, noise)
        with pytest.raises(ValueError, match=message):
            learn_scored(brain, *ends, "pairs", noise)
    with pytest.raises(ValueError, match="count is 32; allowed: 0 to 31"):
        DensePairs(brain, "pairs", COUNT + 2)
    assert (dense.weights == before).all()
    assert brain._draws == draws  # what is refused draws nothing
