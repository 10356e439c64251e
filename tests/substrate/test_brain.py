"""The brain against the same thing in plain Python, on graphs drawn at random."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plasticity.substrate import NEURON_DTYPE, SYNAPSE_DTYPE, Brain, spreading, views
from plasticity.substrate.reference import ReferenceBrain, ReferenceNeuron
from plasticity.substrate.reference import random_bits as reference_bits
from plasticity.substrate.structures import PENDING_DTYPE

NEURONS = 7
RULES = ("static", "hebbian", "oja", "sanger", "delta", "adam", "reward", "count")
SANGER = RULES.index("sanger") + 1
SIGNS = (1, 1, 1, 1, -1, 1, 1, 1)
numbers = st.floats(-2, 2, width=32)
neurons = st.integers(0, NEURONS - 1)
# Relation 0 is the default one; Adam's moments are rounded at random, and are compared apart.
relations = st.sampled_from([i + 1 for i, rule in enumerate(RULES) if rule != "adam"])
drive = st.dictionaries(neurons, numbers.filter(bool), min_size=1, max_size=4)

operations = st.lists(
    st.one_of(
        st.tuples(st.just("connect"), neurons, neurons, relations, numbers),
        st.tuples(st.just("learn"), neurons, neurons, relations, numbers, numbers),
        st.tuples(st.just("rows"), drive, drive, relations.filter(lambda r: r != SANGER)),
        st.tuples(st.just("spread"), drive, st.integers(1, 3), drive, drive),
        st.tuples(st.just("reward"), numbers, numbers),
        st.tuples(st.just("merge")),
        st.tuples(st.just("modulate"), st.floats(0, 2)),
        st.tuples(st.just("reopen")),
    ),
    max_size=30,
)


def a_pair(fields=None):
    """Return a brain and its reference with the same neurons, groups and relations."""
    brain = Brain(seed=3)
    brain.group("pair", winners=2)
    brain.group("free")
    for rule, sign in zip(RULES, SIGNS, strict=True):
        brain.relation(rule, rule=rule, sign=sign, learning_rate=0.25, limit=4.0)
    fields = fields or {}
    brain.grow(NEURONS, **fields)
    reference = ReferenceBrain(brain.relations, winners={1: 2})
    for i in range(NEURONS):
        own = {name: np.asarray(values)[i] for name, values in fields.items()}
        reference.neurons.append(ReferenceNeuron(**own))
    return brain, reference


def apply(brain, reference, operation, folder):
    """Do the same to both, and compare what comes out of a spread."""
    kind, *rest = operation
    if kind == "connect":
        source, target, relation, weight = rest
        brain.connect(source, target, weight, RULES[relation - 1])
        reference.grown(source, target, relation).weight = np.float32(weight)
    elif kind == "learn":
        source, target, relation, pre, post = rest
        brain.learn(source, target, RULES[relation - 1], pre, post)
        reference.learn(source, target, relation, pre, post)
    elif kind == "rows":
        pre, post, relation = rest
        ends = list(pre), list(pre.values()), list(post), list(post.values())
        brain.learn_rows(*ends, RULES[relation - 1])
        reference.learn_rows(pre, post, relation)
    elif kind == "spread":
        values, cycles, goal, held = rest
        for neuron, strength in held.items():
            brain.memory.hold([neuron], strength)
        boosts = dict(zip(*(part.tolist() for part in brain.memory.gains()), strict=True))
        emission = brain.spread(list(values), list(values.values()), cycles, goal)
        brain.memory.clear()
        emitted, hit = reference.spread(values, cycles, goal, boosts)
        assert dict(zip(emission.hit.tolist(), emission.activations, strict=True)) == hit
        assert dict(zip(emission.neurons.tolist(), emission.values, strict=True)) == emitted
    elif kind == "reward":
        brain.reward(*rest)
        reference.reward(*rest)
    elif kind == "merge":
        brain.consolidate()
        count_weights(reference)
    elif kind == "modulate":
        brain.modulator = reference.modulator = rest[0]
    elif kind == "reopen":
        brain = reopened(brain, folder)
    return brain


def count_weights(reference):
    """Merge, and set the weights of the counting relation to shares."""
    reference.merge()
    for source in range(NEURONS):
        own = [s for s in reference.leaving(source) if RULES[s.relation - 1] == "count"]
        total = sum(s.count for s in own)
        for synapse in own:
            synapse.weight = np.float32(synapse.count / max(total, 1))


def reopened(brain, folder):
    """Save to a new folder or commit to the old one, close, open again."""
    if brain.store.path is None:
        brain.save(folder)
    else:
        brain.commit()
    brain.close()
    return Brain.open(folder, "w")


def compare(brain, reference, exact):
    """Compare every synapse and the moving fields of every neuron."""
    edges = {(e["source"], e["target"], e["relation"]): e["weight"] for e in brain.edges()}
    assert len(edges) == len(reference.every_synapse())
    for synapse in reference.every_synapse():
        weight = edges[synapse.source, synapse.target, synapse.relation]
        if exact and RULES[synapse.relation - 1] != "adam":
            assert weight == synapse.weight
        else:  # moments are rounded to 16 bits: one part in 256 for each, and its sum over steps
            assert weight == pytest.approx(synapse.weight, abs=0.05)
    for index, neuron in enumerate(reference.neurons):
        assert brain.get(index, "fires")[0] == neuron.fires
        assert brain.get(index, "activation")[0] == neuron.activation


def test_records_have_the_promised_sizes():
    assert NEURON_DTYPE.itemsize == 64
    assert SYNAPSE_DTYPE.itemsize == 16
    assert PENDING_DTYPE.itemsize == 24
    brain = Brain()
    before = brain.bytes
    brain.grow(2)
    brain.connect(0, 1)
    brain.consolidate()
    assert brain.bytes - before == 2 * 64 + 16
    for count in (10, 100, 1000):  # wherever its neurons move to, each fills one line of the cache
        brain.grow(count)
        assert brain.graph.neurons.ctypes.data % 64 == 0


@settings(deadline=None, max_examples=60)
@given(
    operations,
    st.lists(st.floats(0, 1, width=32), min_size=NEURONS, max_size=NEURONS),
    st.lists(st.integers(0, 2), min_size=NEURONS, max_size=NEURONS),
)
def test_any_history_is_that_of_the_reference(tmp_path_factory, history, leaks, groups):
    fields = {"leak": np.float32(leaks), "group": groups, "threshold": np.float32([0.1] * NEURONS)}
    brain, reference = a_pair(fields)
    folder = tmp_path_factory.mktemp("brain") / "kept"
    for operation in history:
        brain = apply(brain, reference, operation, folder)
    compare(brain, reference, exact=True)
    brain.close()


@pytest.mark.parametrize("rule", RULES[1:])
def test_each_rule_changes_what_it_should(rule):
    brain, reference = a_pair()
    generator = np.random.default_rng(0)
    relation = RULES.index(rule) + 1
    for pre, post in generator.uniform(-1, 1, (50, 2)).astype(np.float32):
        brain.learn(0, 1, rule, pre, post)
        reference.learn(0, 1, relation, pre, post)
        brain.reward(0.5, 0.1)
        reference.reward(0.5, 0.1)
        brain.spread(2)
        reference.spread({2: 1.0}, 1)
    assert reference.find(0, 1, relation).weight != 0 or rule == "count"
    compare(brain, reference, exact=rule not in ("adam", "reward"))


def test_sanger_takes_targets_in_order():
    brain, reference = a_pair()
    for target, weight in ((2, 0.5), (1, -0.25), (4, 1.0)):
        brain.connect(0, target, weight, "sanger")
        reference.grown(0, target, 4).weight = np.float32(weight)
    with pytest.raises(ValueError, match=r"consolidate\(\) first"):
        brain.learn_rows(0, 1.0, [1, 2, 4], [0.5, 1.0, 2.0], "sanger")
    brain.consolidate()
    reference.merge()
    brain.learn_rows(0, 1.5, [1, 2, 4], [0.5, 1.0, 2.0], "sanger")
    reference.learn_rows({0: 1.5}, {1: 0.5, 2: 1.0, 4: 2.0}, 4)
    compare(brain, reference, exact=True)


def test_oja_finds_the_principal_direction():
    generator = np.random.default_rng(1)
    scales = np.array([3.0, 1.0, 0.5])
    axes, _ = np.linalg.qr(generator.normal(size=(3, 3)))
    samples = generator.normal(size=(3000, 3)) * scales @ axes.T
    brain = Brain()
    brain.relation("filters", rule="oja", learning_rate=0.01)
    inputs, output = brain.grow(3), brain.grow(1, threshold=-math.inf)
    brain.connect(inputs, output, [0.5, 0.5, 0.5], "filters")
    for sample in samples:
        answer = brain.spread(inputs, sample).activation(output)
        brain.learn_rows(inputs, sample, output, answer, "filters")
    weights = brain.weights(inputs, output, "filters")
    assert np.linalg.norm(weights) == pytest.approx(1, abs=0.1)
    assert abs(weights @ axes[:, 0]) > 0.98


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(neurons, neurons, numbers), max_size=20),
    drive,
    st.integers(1, 3),
    drive,
    st.lists(st.floats(0, 1, width=32), min_size=NEURONS, max_size=NEURONS),
)
def test_explanations_add_up_to_the_activation(synapses, values, cycles, goal, leaks):
    brain, _ = a_pair({"leak": np.float32(leaks), "threshold": np.float32([-1] * NEURONS)})
    for source, target, weight in synapses:
        brain.connect(source, target, weight)
    brain.spread(list(goal), list(goal.values()))  # leaves activation behind
    emission = brain.spread(list(values), list(values.values()), cycles, goal, trace=True)
    for neuron, activation in zip(emission.hit, emission.activations, strict=True):
        every = brain.explain(neuron, k=0)
        parts = [path.contribution for path in every.paths]
        size = 1 + sum(map(abs, parts))
        assert every.rest == 0
        assert sum(parts) == pytest.approx(float(activation), abs=1e-5 * size)
        few = brain.explain(neuron, k=2)
        listed = sum(path.contribution for path in few.paths)
        assert listed + few.rest == pytest.approx(float(activation), abs=1e-5 * size)
        assert str(few)


@pytest.mark.parametrize("threads", [2, 4])
def test_threads_change_no_bit(threads):
    generator = np.random.default_rng(5)
    one, many = Brain(seed=1), Brain(seed=1, threads=threads)
    for brain in (one, many):
        brain.relation("pairs", rule="hebbian", limit=1.0)
        brain.grow(500, threshold=-math.inf)
    sources, targets = generator.integers(0, 500, (2, 60_000)).astype(np.uint32)
    noise = np.bincount(targets, minlength=500)
    for brain in (one, many):
        brain.learn_contrast(sources, targets, "pairs", noise)
        brain.consolidate()
        brain.learn_contrast(sources[::-1].copy(), targets, "pairs", noise)
    assert (one.edges() == many.edges()).all()
    left, right = (b.spread(np.arange(500), cycles=2) for b in (one, many))
    assert (left.activations == right.activations).all()


@pytest.mark.parametrize("threads", [2, 3, 4])
def test_threads_change_no_bit_of_what_neurons_make_of_their_input(threads, monkeypatch):
    monkeypatch.setattr(spreading, "SHARED", 1)
    generator = np.random.default_rng(7)
    leaks, thresholds = generator.random((2, 501))
    ends, weights = generator.integers(0, 501, (2, 3000)), generator.normal(size=3000)
    found = []
    for brain in (Brain(), Brain(threads=threads)):
        brain.grow(501, leak=leaks, threshold=thresholds - 0.5, bias=0.01, group="all")
        brain.group("all", winners=100)
        brain.connect(*ends, weights)
        brain.memory.hold([5, 500])
        emission = brain.spread(np.arange(501), cycles=3, goal={0: 0.5, 400: -1.0}, trace=True)
        last = emission.cycles[-1]
        parts = last.kept, last.scales, last.constants, last.activations, last.emitted
        found.append([*parts, emission.neurons, emission.values, brain.get(last.hit, "fires")])
    assert len(found[0][5]) == 100  # the competition took part
    assert all(np.array_equal(*pair) for pair in zip(*found, strict=True))


def change_the_graph(brain):
    """Yield after every kind of change after which a derived view must not be used any more."""
    generator = np.random.default_rng(4)
    for number in (1, 2, 0):  # the last time nothing is grown any more
        brain.learn(0, 1, "pairs")
        yield
        brain.learn_contrast([0, 1], [2, 3], "pairs", np.ones(60))
        yield
        brain.learn_rows([0, 1], 1.0, [2, 3], 1.0, "pairs")
        yield
        brain.connect(4, 5, generator.normal(), "pairs")
        yield
        brain.learn(3, 4, "rewarded")
        brain.reward(1.0)
        yield
        brain.learn(0, [2, 3, 3][: 1 + number], "counts")
        yield
        brain.consolidate()
        yield
    brain.consolidate(epsilon=0.1)
    yield
    brain.grow(40, threshold=-math.inf)
    yield


def test_a_derived_view_changes_no_bit_and_gives_way_to_every_change():
    generator = np.random.default_rng(3)
    ends, weights = generator.integers(0, 60, (2, 900)), generator.normal(size=900)
    plain, derived = Brain(), Brain()
    for brain in (plain, derived):
        brain.grow(60, threshold=-math.inf)
        brain.relation("pairs", rule="hebbian", limit=4.0)
        brain.relation("counts", rule="count", sign=-1.0)
        brain.relation("rewarded", rule="reward")
        brain.connect(*ends, weights, "pairs")
        brain.connect([0, 3], [2, 4], [0.5, 0.25], "counts")
    changes = [change_the_graph(brain) for brain in (plain, derived)]
    derived.derive()
    for _ in zip(*changes, strict=True):
        for emitting in (len(plain), len(plain) - 9, 5):
            for relations in (None, None, ["pairs"]):  # the view is stale, then fresh, then other
                frontier = np.arange(emitting), generator.normal(size=emitting)
                expected, found = (
                    brain.spread(*frontier, cycles=2, relations=relations)
                    for brain in (plain, derived)
                )
                assert np.array_equal(expected.hit, found.hit)
                assert np.array_equal(expected.activations, found.activations)
                derived.derive()


def test_a_derived_view_is_used_until_something_changes(monkeypatch):
    brain = Brain()
    brain.grow(4, threshold=-math.inf)
    brain.connect([0, 1], 2, 1.0)
    used = []
    deliver = views.View.deliver
    monkeypatch.setattr(
        views.View, "deliver", lambda view, *given: used.append(1) or deliver(view, *given)
    )
    brain.derive()
    brain.spread([0, 1, 3])
    assert len(used) == 1
    brain.spread([0])  # too few
    brain.connect(0, 2, 3.0)
    assert brain.spread([0, 1, 3]).value(2) == 4
    assert len(used) == 1


def test_random_bits_are_those_of_the_reference():
    from plasticity.substrate.kernels import random_bits

    for seed, counter in ((0, 0), (7, 123), (2**63, 2**40)):
        assert int(random_bits(np.uint64(seed), counter)) == reference_bits(seed, counter)


def test_negatives_are_drawn_in_proportion_and_weaken_only_what_is_there():
    brain = Brain(seed=2)
    brain.relation("pairs", rule="hebbian", limit=1.0, learning_rate=0.5)
    brain.grow(4)
    brain.connect(0, [1, 2], 0.5, "pairs")
    noise = np.array([0, 0, 1, 0])  # only neuron 2 is ever drawn
    for _ in range(10):
        brain.learn_contrast(0, 1, "pairs", noise, negatives=2, strength=0.2)
    weights = brain.weights(0, [1, 2, 3], "pairs")
    assert weights[0] > 0.9
    assert weights[1] < 0
    assert np.isnan(weights[2])


def test_replay_prefers_surprise_and_is_repeatable():
    def lived(seed):
        brain = Brain(seed=seed)
        brain.relation("acts", rule="reward", learning_rate=0.1, eligibility_decay=0.5)
        brain.neurons(["here", "good", "dull"])
        brain.record([("here", "good", "acts", 1, 1)], reward=1.0)
        brain.record([("here", "dull", "acts", 1, 1)], reward=0.0)
        return brain, brain.replay(30)

    brain, drawn = lived(4)
    assert (drawn == 0).sum() > 25
    weights = brain.weights("here", ["good", "dull"], "acts")
    assert weights[0] > 1
    assert not weights[1] > 0
    again, order = lived(4)
    assert (order == drawn).all()
    assert (again.edges() == brain.edges()).all()


def test_eligibility_survives_opening_and_merging(tmp_path):
    weights = []
    for way in ("stay", "reopen", "merge"):
        brain = Brain()
        brain.relation("acts", rule="reward", learning_rate=1.0)
        brain.grow(3)
        brain.learn([0, 1], [1, 2], "acts", 1.0, [1.0, 0.5])
        if way == "reopen":
            brain = reopened(brain, tmp_path / way)
        elif way == "merge":
            brain.consolidate()
        brain.reward(1.0)
        brain.forget_eligibility()
        brain.reward(1.0)
        weights.append(brain.weights([0, 1], [1, 2], "acts").tolist())
    assert weights == [[1.0, 0.5]] * 3


def test_working_memory_says_how_to_hold_a_name():
    brain = Brain()
    brain.neuron("rain")
    with pytest.raises(TypeError, match=r"holds 'rain'; allowed: indexes, as brain.indexes"):
        brain.memory.hold(["rain"])
    assert len(brain.memory) == 0


@pytest.mark.parametrize(
    ("neuron", "strength", "error"),
    [(1.5, 1.0, TypeError), (-1, 1.0, ValueError), (0, math.nan, ValueError)],
)
def test_working_memory_holds_whole_numbers_finitely(neuron, strength, error):
    brain = Brain()
    brain.grow(2)
    with pytest.raises(error):
        brain.memory.hold([neuron], strength)
    assert len(brain.memory) == 0


@pytest.mark.parametrize("group", [1, -1, 0.5, [0, 3]])
def test_a_group_is_declared_before_neurons_join_it(group):
    brain = Brain()
    brain.grow(2)
    with pytest.raises(ValueError, match="allowed: a name, or a declared index, 0 to 0"):
        brain.set([0, 1], group=group)
    with pytest.raises(ValueError, match="allowed: a name"):
        brain.grow(2, group=group)
    assert len(brain) == 2
    assert brain.group("named") == 1
    brain.set([0, 1], group=1)
    assert brain.get([0, 1], "group").tolist() == [1, 1]


def test_contrast_is_hebbian():
    brain = Brain()
    brain.grow(2)
    brain.relation("counts", rule="count")
    with pytest.raises(ValueError, match="relation 'counts' has rule 'count'; allowed: 'hebbian'"):
        brain.learn_contrast(0, 1, "counts", np.ones(2))


def test_a_sum_beyond_float32_is_infinite():
    brain = Brain()
    brain.grow(3)
    brain.connect([0, 1], 2, 3e38)
    assert brain.spread([0, 1]).value(2) == math.inf


@pytest.mark.parametrize("cycles", [1, 2, 3, 50])
def test_credit_fades_as_in_the_reference(cycles):
    brain, reference = a_pair()
    history = [
        ("learn", 0, 0, RULES.index("reward") + 1, 1.0, 1.0),
        ("spread", {0: 1.0}, cycles, {}, {}),
        ("reward", 0.0, 1.0),
    ]
    for operation in history:
        apply(brain, reference, operation, folder=None)
    compare(brain, reference, exact=True)
