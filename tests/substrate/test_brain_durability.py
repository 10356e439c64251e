"""What a brain survives: kills, strange names and graphs, damaged files, readers and writers."""

import numpy as np
import pytest

from plasticity.substrate import Brain
from plasticity.substrate.pages import CorruptionError, VersionError
from plasticity.substrate.store import Store
from plasticity.substrate.structures import SYNAPSE_DTYPE


@pytest.mark.parametrize(
    "name", ["", "Ω≈ç√", "猫", "🧠" * 50, "a\x00b", "\ud800", "e\u0301", "\n", " " * 3]
)
def test_any_unicode_is_a_name(name, tmp_path):
    brain = Brain()
    brain.neurons(["first", name])
    brain.alias("the other", name)
    brain.save(tmp_path / "brain")
    brain.close()
    with Brain.open(tmp_path / "brain") as again:
        assert again.index(name) == again.index("the other") == 1
        assert again.name(1) == name
        assert again.name(0) == "first"
        assert name in again


def test_many_names_grow_the_table():
    brain = Brain()
    names = [f"neuron {i}" for i in range(5000)]
    for start in range(0, 5000, 700):
        brain.neurons(names[start : start + 700])
    assert (brain.neurons(names) == np.arange(5000)).all()
    assert len(brain) == 5000
    with pytest.raises(KeyError, match="near: neuron 4999"):
        brain.index("neuron 49990")


def test_graphs_without_neurons_synapses_or_input_are_defined(tmp_path):
    brain = Brain()
    assert len(brain.spread([]).hit) == 0
    brain.consolidate()
    brain.save(tmp_path / "empty")
    brain.close()
    with Brain.open(tmp_path / "empty", "w") as again:
        again.neuron("alone")
        emission = again.spread("alone", cycles=3)
        assert emission.names() == []
        assert emission.value("alone") == 0
        assert len(again.edges()) == 0


def test_a_neuron_may_lead_to_itself():
    brain = Brain()
    brain.neuron("self")
    brain.connect("self", "self", 0.5)
    assert brain.spread("self", cycles=3).value("self") == 0.125
    brain.consolidate()
    assert brain.spread("self", cycles=3).value("self") == 0.125


def test_wrong_values_are_refused_by_name():
    brain = Brain()
    brain.grow(2)
    with pytest.raises(ValueError, match="weights holds nan"):
        brain.connect(0, 1, float("nan"))
    with pytest.raises(IndexError, match="neuron is 2; allowed: 0 to 1"):
        brain.connect(0, 2)
    with pytest.raises(KeyError, match="no relation 'likes'; declared: connects"):
        brain.connect(0, 1, relation="likes")
    with pytest.raises(ValueError, match=r"leak is 1\.5; allowed: 0 to 1"):
        brain.neuron("leaky", leak=1.5)
    with pytest.raises(ValueError, match="cycles is 0; allowed: 1 or more"):
        brain.spread(0, cycles=0)
    with pytest.raises(ValueError, match="rule is 'magic'; allowed: static, hebbian"):
        brain.relation("odd", rule="magic")
    with pytest.raises(ValueError, match="trace=True"):
        brain.explain(0)
    with pytest.raises(TypeError, match="unknown setting 'treshold'"):
        brain.neuron("x", treshold=1)
    with pytest.raises(ValueError, match="threads is 0; allowed: 1 or more"):
        Brain(threads=0)
    with pytest.raises(ValueError, match="winners is -1; allowed: 0 or more"):
        brain.group("rivals", winners=-1)
    with pytest.raises(ValueError, match="neurons holds -1; allowed: indexes, from 0"):
        brain.memory.hold([-1])


def test_numbers_that_are_none_are_refused_before_anything_changes():
    brain = Brain()
    brain.relation("pairs", rule="hebbian", limit=1.0)
    brain.grow(2)
    brain.connect(0, 1, 0.5, "pairs")
    before = brain.graph.neurons.tobytes(), brain.edges().tolist()
    nan, infinite = float("nan"), float("inf")
    with pytest.raises(ValueError, match="values holds nan; allowed: finite"):
        brain.spread(0, nan)
    with pytest.raises(ValueError, match="goal holds -inf; allowed: finite"):
        brain.spread(0, goal={1: -infinite})
    with pytest.raises(ValueError, match="pre holds inf; allowed: finite"):
        brain.learn(0, 1, "pairs", pre=infinite)
    with pytest.raises(ValueError, match="post holds nan; allowed: finite"):
        brain.learn([1, 0], 1, "pairs", post=[1, nan])
    with pytest.raises(ValueError, match="post holds nan; allowed: finite"):
        brain.learn_rows(0, 1.0, 1, nan, "pairs")
    assert (brain.graph.neurons.tobytes(), brain.edges().tolist()) == before


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        ([], "noise is empty; allowed: finite numbers"),
        ([0.0, 0.0], r"noise goes from 0\.0 to 0\.0; allowed"),
        ([1.0, -1.0], r"noise goes from -1\.0 to 1\.0; allowed"),
        ([1.0, float("nan")], "noise goes from nan to nan; allowed"),
        ([1.0, float("inf")], r"noise goes from 1\.0 to inf; allowed"),
    ],
)
def test_noise_that_nothing_can_be_drawn_from_is_refused(noise, message):
    brain = Brain()
    brain.relation("pairs", rule="hebbian", limit=1.0)
    brain.grow(2)
    with pytest.raises(ValueError, match=message):
        brain.learn_contrast(0, 1, "pairs", np.array(noise))
    with pytest.raises(ValueError, match="negatives is -1; allowed: 0 or more"):
        brain.learn_contrast(0, 1, "pairs", np.ones(2), negatives=-1)
    assert len(brain.edges()) == 0


def test_diverging_weights_stay_visible_and_never_fire():
    brain = Brain()
    brain.relation("wild", rule="delta", learning_rate=1e30)
    brain.grow(2)
    for _ in range(3):
        brain.learn(0, 1, "wild", pre=1e30, post=1e30)
        brain.learn(0, 1, "wild", pre=-1e30, post=1e30)
    assert not np.isfinite(brain.weights(0, 1, "wild")).all()
    emission = brain.spread(0, 0.0)
    assert len(emission.neurons) == 0 or np.isinf(emission.values).all()


def test_a_dangling_synapse_is_named():
    brain = Brain()
    brain.grow(2)
    brain.connect(0, 1, 1.0)
    brain.consolidate()
    brain.graph.synapses["target"] = 9
    with pytest.raises(ValueError, match="neuron 0 lead outside"):
        brain.spread(0)


def test_a_flipped_weight_is_never_believed(tmp_path):
    brain = Brain()
    brain.grow(100)
    brain.connect(np.arange(99), np.arange(1, 100), 1.0)
    brain.consolidate()
    brain.save(tmp_path / "brain")
    brain.close()
    [file] = (tmp_path / "brain").rglob("synapses.bin")
    content = bytearray(file.read_bytes())
    content[4 * 16 + 6] ^= 0x40
    file.write_bytes(bytes(content))
    with Brain.open(tmp_path / "brain") as again, pytest.raises(CorruptionError, match="synapses"):
        again.spread(4)


@pytest.mark.parametrize(
    ("array", "field", "use"),
    [
        ("pending", "weight", lambda brain: brain.spread(2)),
        ("pending", "weight", lambda brain: brain.synapses(2)),
        ("pending", "next", lambda brain: brain.spread(2)),
        ("pending", "relation", lambda brain: brain.weights(2, 3)),
        ("pending", "first", lambda brain: brain.reward(1.0)),
        ("neurons", "bias", lambda brain: brain.get(2, "bias")),
        ("neurons", "name", lambda brain: brain.name(2)),
        ("episode_rewards", None, lambda brain: brain.record([(0, 1, "connects", 1, 1)], 1.0)),
    ],
)
def test_no_flipped_bit_of_what_is_used_is_believed(array, field, use, tmp_path):
    brain = Brain()
    brain.neurons([str(number) for number in range(5)])
    brain.relation("acts", rule="reward")
    brain.connect(np.arange(4), np.arange(1, 5), 1.0)
    for _ in range(2):
        brain.record([(0, 1, "connects", 1, 1)], 1.0)
    brain.save(tmp_path / "brain")
    record = brain.store[array].dtype
    brain.close()
    [file] = (tmp_path / "brain").rglob(f"{array}.bin")
    content = bytearray(file.read_bytes())
    place = 0 if field is None else 2 * record.itemsize + record.fields[field][1]
    content[place] ^= 1
    with Brain.open(tmp_path / "brain") as whole:
        use(whole)
    file.write_bytes(bytes(content))
    with Brain.open(tmp_path / "brain") as again:
        again.episodes.capacity = 2  # another episode drops old ones: what is left is moved
        with pytest.raises(CorruptionError, match=f"{array}.bin"):
            use(again)


def test_arrays_laid_out_otherwise_are_refused(tmp_path):
    store = Store()
    fields = SYNAPSE_DTYPE.descr
    store.create("synapses", np.dtype([fields[1], fields[0], *fields[2:]]))
    store.save(tmp_path / "brain")
    store.close()
    with pytest.raises(VersionError, match=r"array 'synapses' has dtype .* this release uses"):
        Brain.open(tmp_path / "brain")


def test_a_reader_keeps_what_it_opened(tmp_path):
    writer = Brain()
    writer.neurons(["a", "b"])
    writer.connect("a", "b", 0.25)
    writer.save(tmp_path / "brain")
    with Brain.open(tmp_path / "brain") as reader:
        writer.connect("a", "b", 0.75)
        writer.checkpoint()
        assert reader.spread("a").value("b") == 0.25
        with Brain.open(tmp_path / "brain") as later:
            assert later.spread("a").value("b") == 0.75
    writer.close()


def test_a_frozen_brain_learns_nothing():
    brain = Brain()
    brain.relation("pairs", rule="hebbian", limit=1.0)
    brain.grow(2)
    brain.modulator = 0.0
    brain.learn(0, 1, "pairs")
    assert brain.weights(0, 1, "pairs") == 0


def test_working_memory_is_a_gain_and_goals_are_a_source():
    brain = Brain()
    brain.neurons(["cue", "left", "right"])
    brain.connect("cue", ["left", "right"], [1.0, 1.0])
    brain.memory.hold(brain.indexes("right"), strength=1.0)
    emission = brain.spread("cue")
    assert emission.top(1) == [(2, pytest.approx(np.e))]
    brain.memory.clear()
    assert brain.spread("cue", goal={"left": 0.5}).value("left") == 1.5
    assert brain.spread([], goal={"right": 0.5}).names() == ["right"]
