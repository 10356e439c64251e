import mmap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plasticity.substrate import (
    blocked,
    propagation,
    propagation_reference,
    residency,
    views,
    walking,
)
from plasticity.substrate.structures import NEURON_DTYPE, PENDING_DTYPE, SYNAPSE_DTYPE

THREADS = (1, 2, 3, 4)
AWKWARD = [0.0, -0.0, 1e-45, 3e38, -3e38, np.inf, -np.inf, np.nan]
FINITE = st.floats(-1e6, 1e6, width=32)
ANY = st.one_of(FINITE, st.sampled_from(AWKWARD))


def make_graph(number, rows, pending):
    """Return arrays of a graph from lists of (source, target, weight, relation)."""
    neurons = np.zeros(number, NEURON_DTYPE)
    rows = sorted(rows, key=lambda edge: edge[0])
    synapses, later = np.zeros(len(rows), SYNAPSE_DTYPE), np.zeros(len(pending), PENDING_DTYPE)
    for records, edges in ((synapses, rows), (later, pending)):
        for record, (_, target, weight, relation) in zip(records, edges, strict=True):
            record["target"], record["weight"], record["relation"] = target, weight, relation
    neurons["fan_out"] = np.bincount([edge[0] for edge in rows], minlength=number)
    neurons["first_synapse"] = np.cumsum(neurons["fan_out"]) - neurons["fan_out"]
    for place, (source, *_) in enumerate(pending):
        later[place]["source"], later[place]["next"] = source, neurons[source]["pending"]
        neurons[source]["pending"] = place + 1
    return neurons, synapses, later


@st.composite
def spreads(draw, numbers=ANY, everyone=False):
    """Draw a graph, a frontier and relations: the arguments of `deliver`."""
    number = draw(st.integers(1, 40))
    neuron = st.integers(0, number - 1)
    edge = st.tuples(neuron, neuron, numbers, st.integers(0, 3))
    graph = make_graph(number, draw(st.lists(edge, max_size=80)), draw(st.lists(edge, max_size=20)))
    chosen = range(number) if everyone else sorted(draw(st.sets(neuron)))
    frontier = np.array(chosen, np.uint32)
    values = draw(st.lists(numbers, min_size=len(frontier), max_size=len(frontier)))
    signs, allowed = np.ones(256, np.float32), np.zeros(256, np.bool_)
    signs[:4] = draw(st.lists(st.sampled_from([1, -1, 0.5]), min_size=4, max_size=4))
    allowed[:4] = draw(st.lists(st.booleans(), min_size=4, max_size=4))
    return *graph, frontier, np.array(values, np.float32), signs, allowed


def random_spread(number, degree, share, seed=0):
    """Return a larger random graph with hubs and pending synapses, and a frontier."""
    generator = np.random.default_rng(seed)
    neurons = np.zeros(number, NEURON_DTYPE)
    neurons["fan_out"] = generator.poisson(degree, number)
    neurons["fan_out"][number // 3] = 40 * degree
    neurons["first_synapse"] = np.cumsum(neurons["fan_out"]) - neurons["fan_out"]
    synapses = np.zeros(int(neurons["fan_out"].sum()), SYNAPSE_DTYPE)
    pending = np.zeros(number, PENDING_DTYPE)
    for records in (synapses, pending):
        records["target"] = generator.integers(0, number, len(records))
        records["weight"] = generator.standard_normal(len(records))
        records["relation"] = generator.integers(0, 3, len(records))
    for place, source in enumerate(generator.integers(0, number, number).tolist()):
        pending[place]["source"], pending[place]["next"] = source, neurons[source]["pending"]
        neurons[source]["pending"] = place + 1
    frontier = np.flatnonzero(generator.random(number) < share).astype(np.uint32)
    values = generator.standard_normal(len(frontier)).astype(np.float32)
    signs, allowed = np.ones(256, np.float32), np.ones(256, np.bool_)
    signs[1], allowed[2] = -1, False
    return neurons, synapses, pending, frontier, values, signs, allowed


def assert_same(found, wanted):
    """Compare to the bit; which of its bits a number that is none has is not defined."""
    assert [column.dtype for column in found] == [np.uint32, np.float32]
    assert np.array_equal(found[0], wanted[0])
    numbers = ~np.isnan(wanted[1])
    assert np.array_equal(np.isnan(found[1]), ~numbers)
    assert found[1][numbers].tobytes() == wanted[1][numbers].tobytes()


def add_sparse(*arguments):
    links, front = prepared(arguments)
    return propagation.add_sparse(links, front, propagation.synapses_of(links, front))


def add_blocked(*arguments, threads):
    links, front = prepared(arguments)
    totals = np.zeros(len(arguments[0]), np.float32)
    with blocked.workers(threads) as run:
        blocked.add_blocked(links, front, totals, threads, run)
        return propagation.collect(totals, threads, run)


def prepared(arguments):
    neurons, synapses, pending, frontier, values, signs, allowed = arguments
    links = walking.links_of(neurons, synapses, pending, signs, allowed)
    return links, walking.frontier_of(frontier, values)


@pytest.fixture
def tiny_blocks(monkeypatch):
    """Make bins, blocks and chunks so small that small graphs need several of each."""
    monkeypatch.setattr(blocked, "BIN", 2)
    monkeypatch.setattr(blocked, "SOURCES", 7)
    monkeypatch.setattr(blocked, "CHUNK", 5)


@settings(deadline=None)
@given(spread=spreads())
def test_dense_and_sparse_paths_equal_the_reference(spread):
    wanted = propagation_reference.deliver(*spread)
    assert_same(propagation.deliver(*spread), wanted)
    assert_same(add_sparse(*spread), wanted)


@pytest.mark.usefixtures("tiny_blocks")
def test_blocked_path_equals_the_reference_for_any_threads():
    @settings(deadline=None)
    @given(spread=spreads(), threads=st.sampled_from(THREADS))
    def check(spread, threads):
        wanted = propagation_reference.deliver(*spread)
        assert_same(add_blocked(*spread, threads=threads), wanted)

    check()


@settings(deadline=None)
@given(spread=spreads())
def test_gathered_synapses_are_those_delivered_in_order(spread):
    columns = propagation.gather(*spread)
    wanted = list(propagation_reference.delivered(*spread))
    assert [c.dtype for c in columns] == [np.uint32, np.uint32, np.uint8, np.float32]
    assert list(zip(*(c.tolist() for c in columns[:3]), strict=True)) == [w[:3] for w in wanted]
    assert np.array_equal(columns[3], np.array([w[3] for w in wanted], np.float32), equal_nan=True)


def test_views_equal_the_reference(monkeypatch):
    monkeypatch.setattr(views, "BIN", 2)
    monkeypatch.setattr(views, "SHARED", 0)

    @settings(deadline=None)
    @given(
        spread=st.one_of(spreads(everyone=True), spreads(numbers=FINITE)),
        threads=st.sampled_from(THREADS),
    )
    def check(spread, threads):
        *graph, frontier, values, signs, allowed = spread
        view = views.build(*graph, signs, allowed, version=1)
        wanted = propagation_reference.deliver(*spread)
        assert_same(view.deliver(1, frontier, values, threads), wanted)
        if len(frontier) == view.neurons:
            totals = view.totals(1, values, threads)
            hit = np.flatnonzero(totals).astype(np.uint32)
            assert_same((hit, totals[hit]), wanted)

    check()


@pytest.mark.parametrize(("number", "share"), [(1_000, 1), (20_000, 1), (20_000, 0.001)])
def test_every_path_and_number_of_threads_gives_the_same_bits(number, share, monkeypatch):
    spread = random_spread(number, 10, share)
    monkeypatch.setattr(blocked, "BIN", 12)
    monkeypatch.setattr(blocked, "CHUNK", 100_000)
    monkeypatch.setattr(views, "SHARED", 0)
    monkeypatch.setattr(views, "BIN", 12)
    monkeypatch.setattr(propagation, "SHARED", 0)
    wanted = propagation_reference.deliver(*spread)
    assert_same(add_sparse(*spread), wanted)
    *graph, frontier, values, signs, allowed = spread
    view = views.build(*graph, signs, allowed, version=1)
    for threads in THREADS:
        assert_same(propagation.deliver(*spread, threads=threads), wanted)
        assert_same(add_blocked(*spread, threads=threads), wanted)
        assert_same(view.deliver(1, frontier, values, threads), wanted)


def test_few_of_very_many_neurons_are_found_in_order():
    """Indexes of more digits than the sort of the sparse path takes in two passes."""
    generator = np.random.default_rng(0)
    neurons, synapses = np.zeros(1 << 24, NEURON_DTYPE), np.zeros(3000, SYNAPSE_DTYPE)
    frontier = np.unique(generator.integers(0, len(neurons), 300, np.uint32))
    neurons["fan_out"][frontier] = 10
    neurons["first_synapse"][frontier] = np.arange(0, 10 * len(frontier), 10)
    synapses["target"] = generator.integers(0, len(neurons), len(synapses))
    synapses["weight"] = generator.standard_normal(len(synapses))
    values = np.ones(len(frontier), np.float32)
    relations = np.ones(256, np.float32), np.ones(256, np.bool_)
    spread = neurons, synapses, np.zeros(0, PENDING_DTYPE), frontier, values, *relations
    assert propagation.choose_path(*prepared(spread), 1, False)[0] == "sparse"
    assert_same(propagation.deliver(*spread), propagation_reference.deliver(*spread))


def test_deliver_takes_each_path(monkeypatch):
    """What decides is the size of the graph and of the activation, never the result."""

    def path(number, share, threads=1, bounded=False):
        links, front = prepared(random_spread(number, 3, share))
        return propagation.choose_path(links, front, threads, bounded)[0]

    monkeypatch.setattr(propagation, "SHARED", 50_000)
    assert path(1_000, 0.001) == "dense"
    assert path(20_000, 0.001) == "sparse"
    assert path(20_000, 1) == "dense"
    assert path(20_000, 1, bounded=True) == "blocked"
    assert path(20_000, 0.5, threads=4) == "dense"
    assert path(20_000, 1, threads=4) == "blocked"


def test_release_is_called_after_every_chunk(monkeypatch):
    monkeypatch.setattr(blocked, "CHUNK", 50_000)
    spread, calls = random_spread(20_000, 10, 1), []
    found = propagation.deliver(*spread, release=lambda: calls.append(None))
    assert len(calls) == -(-(len(spread[1]) + len(spread[2])) // 50_000)
    assert_same(found, propagation.deliver(*spread))


def test_a_word_array_of_a_mapped_file_is_read_in_place(tmp_path):
    spread = random_spread(1_000, 5, 1)
    mapped = []
    for name, records in zip(("neurons", "synapses", "pending"), spread, strict=False):
        records.tofile(tmp_path / name)
        mapped.append(np.memmap(tmp_path / name, records.dtype, mode="r"))
    assert_same(propagation.deliver(*mapped, *spread[3:]), propagation.deliver(*spread))


def test_nothing_arrives_from_nothing():
    graph = make_graph(3, [], [])
    empty = np.zeros(0, np.uint32), np.zeros(0, np.float32)
    relations = np.ones(256, np.float32), np.ones(256, np.bool_)
    for frontier in (empty, (np.arange(3, dtype=np.uint32), np.ones(3, np.float32))):
        for threads in THREADS:
            arguments = (*graph, *frontier, *relations)
            assert_same(propagation.deliver(*arguments, threads=threads), empty)
            assert_same(add_blocked(*arguments, threads=threads), empty)
        assert_same(add_sparse(*arguments), empty)
        assert_same(views.build(*graph, *relations, version=0).deliver(0, *frontier), empty)
    nobody = make_graph(0, [], [])
    assert_same(propagation.deliver(*nobody, *empty, *relations), empty)


def damaged(change):
    graph = make_graph(3, [(0, 1, 1.0, 0), (1, 2, 1.0, 0)], [(0, 2, 1.0, 0), (0, 1, 1.0, 0)])
    change(*graph)
    return *graph, np.arange(3, dtype=np.uint32), np.ones(3, np.float32)


def outside(neurons, synapses, pending):
    synapses["target"][0] = 3


def outside_pending(neurons, synapses, pending):
    pending["target"][0] = 2**32 - 1


def row_outside(neurons, synapses, pending):
    neurons["first_synapse"][0] = 2**64 - 1


def long_row(neurons, synapses, pending):
    neurons["fan_out"][0] = 2**32 - 1


def chain_outside(neurons, synapses, pending):
    neurons["pending"][0] = 77


def chain_in_a_circle(neurons, synapses, pending):
    pending["next"][0] = 2


@pytest.mark.parametrize(
    "change",
    [outside, outside_pending, row_outside, long_row, chain_outside, chain_in_a_circle],
)
def test_links_that_lead_outside_are_refused_with_their_source(change):
    spread = (*damaged(change), np.ones(256, np.float32), np.ones(256, np.bool_))
    message = "synapses of neuron 0 lead outside.*targets are allowed from 0 to 2"
    for function in (propagation.deliver, propagation.gather, add_sparse):
        with pytest.raises(ValueError, match=message):
            function(*spread)
    for threads in THREADS:
        with pytest.raises(ValueError, match=message):
            add_blocked(*spread, threads=threads)
    with pytest.raises(ValueError, match=message):
        views.build(*spread[:3], *spread[5:], version=0)


def test_arguments_of_another_shape_are_refused():
    *graph, frontier, values, signs, allowed = random_spread(10, 2, 1)
    with pytest.raises(ValueError, match=r"values \(1,\); allowed: one value for each neuron"):
        propagation.deliver(*graph, frontier, values[:1], signs, allowed)
    with pytest.raises(ValueError, match=r"signs has shape \(3,\); allowed: \(256,\)"):
        propagation.deliver(*graph, frontier, values, signs[:3], allowed)
    with pytest.raises(ValueError, match="frontier holds neuron 10; allowed: 0 to 9"):
        propagation.deliver(*graph, [10], [1.0], signs, allowed)
    view = views.build(*graph, signs, allowed, version=0)
    with pytest.raises(ValueError, match="frontier holds neuron 10; allowed: 0 to 9"):
        view.deliver(0, [10], [1.0])
    with pytest.raises(ValueError, match=r"values has shape \(3,\); allowed: \(10,\)"):
        view.totals(0, np.ones(3))


def test_a_view_of_another_version_is_refused():
    *graph, frontier, values, signs, allowed = random_spread(10, 2, 1)
    view = views.build(*graph, signs, allowed, version=3)
    assert (view.stale(3), view.stale(4)) == (False, True)
    with pytest.raises(views.StaleViewError, match=r"version is 4.* made of version 3"):
        view.deliver(4, frontier, values)
    with pytest.raises(views.StaleViewError, match=r"version is 4.* made of version 3"):
        view.totals(4, np.ones(10))


def test_a_silent_neuron_does_not_turn_an_infinite_weight_into_nan():
    graph = make_graph(2, [(0, 1, np.inf, 0)], [])
    relations = np.ones(256, np.float32), np.ones(256, np.bool_)
    view = views.build(*graph, *relations, version=0)
    with pytest.raises(ValueError, match="1 of 2 neurons emit, and some weights are not finite"):
        view.deliver(0, [1], [1.0])
    targets, totals = view.deliver(0, [0, 1], [2.0, 1.0])
    assert (targets.tolist(), totals.tolist()) == ([1], [np.inf])


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_memory_of_a_mapped_file_is_given_back(tmp_path):
    size = 1 << 26
    np.ones(size, np.uint8).tofile(tmp_path / "ones")
    with open(tmp_path / "ones", "rb") as file:
        mapped = np.frombuffer(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ), np.uint8)
    before = residency.resident_bytes()
    assert mapped.sum() == size
    full = residency.resident_bytes()
    residency.ResidentLimit(2 * full, mapped[1:])()
    assert residency.resident_bytes() > before + size // 2
    residency.ResidentLimit(full - size // 2, mapped[1:])()
    assert residency.resident_bytes() < before + size // 2
    assert mapped.sum() == size
    with pytest.raises(ValueError, match="limit is 0; allowed: more than 0 bytes"):
        residency.ResidentLimit(0)
