"""The story model: counts that add up, a graph that is Kneser-Ney, a fast path that is spread."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plasticity.peers.kneser_ney import KneserNey
from plasticity.substrate.domains.stories import kernels
from plasticity.substrate.domains.stories.circuit import Circuit
from plasticity.substrate.domains.stories.classes import classes_of
from plasticity.substrate.domains.stories.counts import Chain, Counts
from plasticity.substrate.domains.stories.graph import StoryBrain
from plasticity.substrate.domains.stories.model import Parts, StoryModel
from plasticity.substrate.domains.stories.telling import Manner, cloze, tell
from plasticity.substrate.domains.stories.text import (
    BEGIN,
    END,
    PAD,
    UNKNOWN,
    Stream,
    Vocabulary,
    words_of,
)

CLASSES = {3: np.array([0, 0, 0, 0, 0, 1, 1, 2, 2], np.int32)}
CHAINS = (Chain((1, 2, 3)), Chain((2, 3)), Chain((1, 3)), Chain((1, 2), 3))
WORDS = 9
STORIES = st.lists(
    st.lists(st.sampled_from([1, 4, 5, 6, 7, 8]), max_size=9).map(np.array),
    min_size=1,
    max_size=10,
)
NAMES = Vocabulary(["<pad>", "<unk>", "<bos>", "<eos>", "the", "cat", "sat", '"', "."])


def drawn(seed, count=60):
    """Draw stories in which words tend to follow their neighbours, and one word comes up often."""
    random = np.random.default_rng(seed)
    stories = []
    for length in random.integers(1, 25, count):
        own, story = int(random.integers(4, WORDS)), [4]
        while len(story) < length:
            near = 4 + (story[-1] - 3) % (WORDS - 4)
            story.append(near if random.random() < 0.4 else own if random.random() < 0.9 else 1)
        stories.append(np.array(story))
    return stories


@settings(deadline=None, max_examples=60)
@given(STORIES, st.data())
def test_counts_of_shards_add_up_to_those_of_the_whole(stories, data):
    shard = np.array(
        data.draw(st.lists(st.integers(0, 2), min_size=len(stories), max_size=len(stories)))
    )
    parts = [
        [s for s, own in zip(stories, shard, strict=True) if own == k] for k in np.unique(shard)
    ]
    whole = Counts.of(Stream.of(stories), CHAINS, CLASSES)
    merged = Counts.merged([Counts.of(Stream.of(part), CHAINS, CLASSES) for part in parts])
    for a, b in zip(whole.levels, merged.levels, strict=True):
        for column in ("names", "words", "counts", "shorter"):
            assert np.array_equal(getattr(a, column), getattr(b, column))
    a, b = Circuit(whole, WORDS), Circuit(merged, WORDS)
    assert all(np.array_equal(x, y) for x, y in zip(a.columns, b.columns, strict=True))


@settings(deadline=None, max_examples=40)
@given(STORIES, STORIES, st.integers(1, 4))
def test_before_learning_it_is_kneser_ney(stories, others, longest):
    parts = Parts((Chain(tuple(range(1, longest + 1))),), memory=False, states=())
    stream = Stream.of(others)
    model = StoryModel.counted(Stream.of(stories), NAMES, parts)
    found = model.log_probabilities(stream)[stream.scored]
    peer = KneserNey(stories, WORDS, longest + 1)
    logs = np.exp(np.concatenate(peer.log_probabilities(others)))
    # The peer spreads what is left over one word more or less: marks that never follow anything.
    even = peer.orders[0].back_off[0]
    assert (
        np.abs(np.exp(found) - logs).max() <= even * abs(1 / (WORDS + 1) - 1 / (WORDS - 2)) + 1e-6
    )


@settings(deadline=None, max_examples=40)
@given(STORIES)
def test_counts_taken_back_are_those_of_the_others(stories):
    stream = Stream.of(stories)
    circuit = Circuit(Counts.of(stream, CHAINS, CLASSES), WORDS, CLASSES)
    edges = circuit.synapses(stream, circuit.find(stream))
    before = [np.array(column) for column in circuit.columns]
    kernels.change(circuit.columns, edges, 0, stream.starts[1], -1)
    if len(stories) > 1:
        rest = Circuit(Counts.of(Stream.of(stories[1:]), CHAINS, CLASSES), WORDS)
        assert np.array_equal(rest.columns.base, circuit.columns.base)
        for place, names in enumerate(rest.names):
            inside = np.searchsorted(circuit.names[place], names)
            own = circuit.columns.totals[circuit.level_of_contexts == place][inside]
            assert np.array_equal(own, rest.columns.totals[rest.level_of_contexts == place])
    else:
        assert not circuit.columns.counts.any() and not circuit.columns.totals.any()
    kernels.change(circuit.columns, edges, 0, stream.starts[1], 1)
    assert all(np.array_equal(a, b) for a, b in zip(before, circuit.columns, strict=True))


@pytest.fixture(scope="module")
def learnt():
    """Return a model with everything in it, and stories that it has not met."""
    stream = Stream.of(drawn(0))
    model = StoryModel.counted(stream, NAMES, Parts(CHAINS))
    model.learn(stream)
    return model, Stream.of(drawn(1, 8))


def test_spread_over_the_graph_gives_the_probabilities_of_the_fast_path(learnt):
    model, stream = learnt
    places = np.flatnonzero(stream.scored)[::5]
    slow = StoryBrain(model)
    fast = model.probabilities(stream, places)
    for place, shares in zip(places, fast, strict=True):
        assert slow.probabilities(stream, place) == pytest.approx(shares, abs=2e-6)


def test_probabilities_sum_to_one_and_marks_never_follow(learnt):
    model, stream = learnt
    shares = model.probabilities(stream, np.flatnonzero(stream.scored))
    assert shares.sum(axis=1, dtype=float) == pytest.approx(1, abs=1e-5)
    assert shares[:, [PAD, BEGIN]].max() < 1e-12
    own = shares[np.arange(len(shares)), stream.words[stream.scored]]
    assert np.log(own) == pytest.approx(model.log_probabilities(stream)[stream.scored], abs=1e-4)


def test_threads_and_the_order_of_stories_do_not_matter(learnt):
    model, stream = learnt
    assert np.array_equal(
        model.log_probabilities(stream), model.log_probabilities(stream, threads=3)
    )
    parts = np.split(stream.words, stream.starts[1:-1])
    backwards = [part[1:-1] for part in parts[::-1]]
    logs = model.log_probabilities(Stream.of(backwards))
    assert logs.sum() == pytest.approx(model.log_probabilities(stream).sum())


def test_learning_helps_on_stories_not_met():
    train, stream = Stream.of(drawn(0, 600)), Stream.of(drawn(1, 60))
    model, plain = (StoryModel.counted(train, NAMES, Parts(CHAINS)) for _ in range(2))
    model.learn(train)
    assert model.perplexity(stream) < plain.perplexity(stream)


def test_learning_leaves_counts_as_they_were(learnt):
    model, _ = learnt
    plain = StoryModel.counted(Stream.of(drawn(0)), NAMES, Parts(CHAINS))
    pairs = zip(model.circuit.columns, plain.circuit.columns, strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)


def test_a_single_story_can_be_learnt_from():
    stream = Stream.of([np.array([4])])
    model = StoryModel.counted(stream, NAMES)
    assert np.isfinite(model.learn(stream)).all()
    assert np.isfinite(model.log_probabilities(Stream.of([np.array([5]), np.zeros(0, int)]))).all()


def test_telling_and_guessing(learnt):
    model, stream = learnt
    said = tell(model, "the cat", np.random.default_rng(0), Manner(length=12))
    assert said == tell(model, "the cat", np.random.default_rng(0), Manner(length=12))
    assert len(said) <= 12 and "<unk>" not in said
    triples = list(zip(said, said[1:], said[2:], strict=False))
    assert len(set(triples)) == len(triples)
    ranks = cloze(model, stream, np.random.default_rng(0), 20)
    assert ranks.min() >= 1 and ranks.max() <= WORDS and len(ranks) <= 20
    with pytest.raises(ValueError, match="a word or more"):
        tell(model, " ", np.random.default_rng(0))


FEW = [np.array([4, 5, 4]), np.array([4, 5]), np.array([6, 4, 5])]


def small():
    return StoryModel.counted(Stream.of(FEW), NAMES, Parts(CHAINS[:1], states=()))


def parted():
    """Return counts of two shards in which the words fall into other classes."""
    maps = (CLASSES[3], CLASSES[3][::-1])
    return [Counts.of(Stream.of(FEW), CHAINS, {3: classes}) for classes in maps]


def test_a_place_that_is_asked_twice_is_answered_twice():
    once, twice = (small().probabilities(Stream.of(FEW), places) for places in ([1], [1, 2, 1]))
    assert np.array_equal(twice[[0, 2]], once[[0, 0]]) and once.sum() == pytest.approx(1)


def test_text_is_cut_and_numbered():
    assert words_of("He said: “No!”") == ["he", "said", ":", "“", "no", "!", "”"]
    vocabulary = Vocabulary.of([["a", "b", "a", "b", "a", "c"]])
    assert vocabulary.words[4:] == ("a", "b")
    assert vocabulary.numbers(["c", "b", "<eos>"]).tolist() == [UNKNOWN, 5, END]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Vocabulary.of([]), ValueError, "no words"),
        (lambda: Vocabulary.of([[]]), ValueError, "no words"),
        (lambda: Vocabulary.of([["a", "a", "b"]], 6), ValueError, "size is 6; allowed: 5 to 5"),
        (lambda: Vocabulary(["a"]), ValueError, "specials|allowed"),
        (lambda: Vocabulary([*NAMES.words, "the"]), ValueError, "'the' 2 times"),
        (lambda: words_of(b"caf\xe9 au lait"), ValueError, "not UTF-8: byte 3 is 0xe9"),
        (lambda: words_of(None), TypeError, "a story is None"),
        (lambda: Stream.of([]), ValueError, "stories is empty"),
        (lambda: Stream.of([np.array([4, END])]), ValueError, "holds a mark"),
        (lambda: Chain((1, 1)), ValueError, "places are"),
        (lambda: classes_of(Stream.of(drawn(0)), WORDS, 0), ValueError, "cells is 0"),
        (
            lambda: StoryModel.counted(Stream.of(drawn(0)), NAMES, Parts(CHAINS[1:])),
            ValueError,
            "from place 1",
        ),
        (lambda: Vocabulary.of([["a", "b"]]), ValueError, "no word occurs 2 times"),
        (lambda: Vocabulary.of(["a cat"]), TypeError, "a story is the text 'a cat'"),
        (lambda: Stream.of([np.array([4.7])]), TypeError, "a story holds .*4.7"),
        (lambda: small().learn(Stream.of(FEW), [7]), ValueError, "order is 7; allowed: 0 to 2"),
        (lambda: small().learn(Stream.of(FEW), [-1]), ValueError, "order is -1"),
        (lambda: small().learn(Stream.of([np.array([8, 8])])), ValueError, "was not counted"),
        (lambda: small().perplexity(Stream.of([np.array([99])])), ValueError, "number is 99"),
        (lambda: small().probabilities(Stream.of(FEW), [50]), ValueError, "places is 50"),
        (lambda: Counts.merged(parted()), ValueError, "2 maps from words to classes"),
        (lambda: Parts(states=("mood",)), ValueError, "'mood'; allowed"),
        (lambda: Parts(rates=(-1, 0)), ValueError, "0 or more"),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
