"""Pictures: the encoder, filters, contexts and votes, in the graph and in bulk."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import numpy as safetensors

from plasticity.substrate import fast_images
from plasticity.substrate.domains.images.encoder import ImageEncoder, Jitter, draw
from plasticity.substrate.domains.images.filters import (
    Bank,
    FilterLearner,
    sample_patches,
    whole_filters,
)
from plasticity.substrate.domains.images.levels import LevelRecogniser
from plasticity.substrate.domains.images.recogniser import ImageRecogniser
from plasticity.substrate.domains.images.voting import pack, unpack, whole_votes
from plasticity.substrate.fast_images import FastRecogniser, learn_filters, verify_recogniser
from plasticity.substrate.fast_levels import (
    active_levels,
    fit_levels,
    scores_of,
    verify_levels,
)
from plasticity.substrate.image_classifier import ImageClassifier

SEEDS = st.integers(0, 2**32 - 1)
BANKS = (Bank(3, 3, 2), Bank(4, 2, 3, reach=0.5))
EYE = ImageEncoder(side=12, upright=False)


def random_grids(seed, count=5, side=12):
    generator = np.random.default_rng(seed)
    grids = generator.integers(0, 256, (count, side, side))
    return np.where(generator.random(grids.shape) < 0.5, grids, 0).astype(np.uint8)


def random_graph(seed, classes=3, encoder=EYE, banks=BANKS):
    generator = np.random.default_rng(seed)
    filters = [
        generator.integers(-127, 128, (bank.filters, bank.size, bank.size)).astype(np.float32)
        for bank in banks
    ]
    graph = ImageRecogniser([f"class {i}" for i in range(classes)], filters, banks, encoder)
    graph.set_votes(generator.integers(-127, 128, (len(graph.contexts), classes)))
    return graph


def shapes(count, height=20, width=17, seed=0):
    """Return bars, upright or flat, or both crossed, from 0 to 1, and their names."""
    generator = np.random.default_rng(seed)
    images, labels = np.zeros((count, height, width)), []
    for image in images:
        kind = generator.integers(3)
        row, column = generator.integers(5, height - 5), generator.integers(5, width - 5)
        if kind != 1:
            image[row - 1 : row + 1, 2:-2] = 1
        if kind != 0:
            image[2:-2, column - 1 : column + 1] = 1
        labels.append(("flat", "upright", "cross")[kind])
    return images, np.array(labels)


# The encoder


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((28, 28)), r"shape \(28, 28\); allowed: \(images, rows, columns\), one channel"),
        (np.zeros((2, 28, 28, 3)), r"one channel.*; grey from colours: images.mean\(axis=-1\)"),
        (np.zeros((0, 28, 28)), "images is empty; allowed: one picture or more"),
        (np.zeros((1, 3, 28)), "4 to 4096 rows and columns"),
        (np.zeros((1, 28, 5000)), "4 to 4096 rows and columns"),
        (np.full((1, 8, 8), 1.5), r"images hold 1\.5; allowed: 0, black, to 1, white"),
        (np.full((1, 8, 8), 300), r"images hold 300; allowed: 0, black, to 255, white"),
        (np.full((1, 8, 8), -1), r"images hold -1; allowed"),
        (np.full((1, 8, 8), np.nan), r"images hold nan; allowed"),
    ],
)
def test_pictures_that_are_not_allowed_are_named(images, message):
    with pytest.raises(ValueError, match=message):
        ImageEncoder()(images)


def test_pictures_are_numbers():
    with pytest.raises(TypeError, match="images are <U1; allowed: whole numbers, floats or bools"):
        ImageEncoder()(np.full((1, 8, 8), "x"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ImageEncoder(side=3), "side is 3; allowed: 4 to 4096"),
        (lambda: ImageEncoder(top=0.0), r"top is 0\.0; allowed: above 0 and finite"),
        (lambda: Jitter(shift=-1), "shift is -1; allowed: 0 or more"),
        (lambda: Jitter(stretch=1.0), r"stretch is 1\.0; allowed: 0 or more and below 1"),
        (lambda: Bank(size=1), "size is 1; allowed: 2 to 16"),
        (lambda: Bank(filters=9), "filters is 9; allowed: 1 to 8"),
        (lambda: Bank(reach=0.4), r"reach is 0\.4; allowed: 0\.5 to 4"),
        (lambda: Bank(size=9).positions(12), "blocks is 6; allowed: 1 to 4, the places of filters"),
    ],
)
def test_settings_out_of_range_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@given(st.integers(4, 60), st.integers(4, 60), st.integers(0, 255))
@settings(max_examples=30, deadline=None)
def test_an_even_picture_of_any_size_is_an_even_grid(rows, columns, level):
    grid = ImageEncoder(side=28, upright=False)(np.full((1, rows, columns), level))
    assert (grid == level).all()


@given(SEEDS, st.sampled_from([1, 2, 3]), st.sampled_from([1, 2, 4]))
@settings(max_examples=20, deadline=None)
def test_cells_are_means_of_the_pixels_they_cover(seed, tall, wide):
    pixels = np.random.default_rng(seed).integers(0, 256, (2, 8 * tall, 8 * wide))
    means = pixels.reshape(2, 8, tall, 8, wide).mean(axis=(2, 4))
    np.testing.assert_allclose(ImageEncoder(8, upright=False)(pixels), means, atol=0.501)


def test_ranges_of_values_give_the_same_grid():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 28, 28)).astype(np.uint8)
    grid = ImageEncoder()(pixels)
    np.testing.assert_array_equal(ImageEncoder()(pixels / 255), grid)
    np.testing.assert_array_equal(ImageEncoder(top=16)(pixels / 255 * 16), grid)
    assert ImageEncoder()(pixels > 100).max() == 255


def test_upright_pictures_do_not_lean_and_lie_in_the_middle():
    leaning = np.zeros((2, 28, 28))
    for row in range(6, 22):
        leaning[0, row, 4 + row // 2 : 7 + row // 2] = 1
        leaning[1, row - 4, 9 + row // 2 : 12 + row // 2] = 1  # the same, elsewhere
    encoder = ImageEncoder()
    assert encoder.frames(encoder.grids(leaning))[0, 2] > 0.4
    drawn = encoder(leaning)
    row, column, lean = encoder.frames(drawn)[0]
    assert abs(row - 13.5) < 0.1 and abs(column - 13.5) < 0.1 and abs(lean) < 0.05
    np.testing.assert_array_equal(drawn[0], drawn[1])


def test_a_black_picture_stays_black_and_identity_changes_nothing():
    assert not ImageEncoder()(np.zeros((2, 9, 9))).any()
    grids = random_grids(0, side=28)
    np.testing.assert_array_equal(ImageEncoder(upright=False)(grids), grids)


@given(SEEDS, SEEDS)
@settings(max_examples=15, deadline=None)
def test_moves_depend_on_seed_and_place_alone(seed, other):
    grids, jitter = random_grids(1, side=16), Jitter(shift=2.0, lean=0.2, turn=0.2, stretch=0.2)
    frames = ImageEncoder(16).frames(grids)
    all_drawn = draw(grids, frames, np.arange(5), jitter, seed)
    np.testing.assert_array_equal(draw(grids, frames, [3, 1], jitter, seed), all_drawn[[3, 1]])
    still = [draw(grids, frames, [2], Jitter(), one) for one in (seed, other)]
    np.testing.assert_array_equal(*still)
    if seed != other:
        assert (draw(grids, frames, np.arange(5), jitter, other) != all_drawn).any()


def test_shifts_reach_as_far_as_they_may():
    dot = np.zeros((400, 16, 16), np.uint8)
    dot[:, 8, 8] = 255
    frames = ImageEncoder(16, upright=False).frames(dot)
    drawn = draw(dot, frames, np.arange(400), Jitter(shift=3.0)).astype(float)
    rows = (drawn.sum(axis=2) * np.arange(16)).sum(axis=1) / drawn.sum(axis=(1, 2))
    assert 2.7 < np.abs(rows - 8).max() <= 3.02 and abs(rows.mean() - 8) < 0.4


# Filters


@given(SEEDS, st.integers(2, 5), st.integers(1, 8))
@settings(max_examples=10, deadline=None)
def test_filters_learnt_in_bulk_are_those_of_the_graph_to_the_last_bit(seed, size, filters):
    patches = np.random.default_rng(seed).normal(size=(40, size**2))
    bank = Bank(size, filters, 1)
    slow, fast = FilterLearner(bank, 0.05, seed % 97), FilterLearner(bank, 0.05, seed % 97)
    slow.learn(patches)
    learn_filters(fast, patches)
    np.testing.assert_array_equal(slow.weights(), fast.weights())
    assert (slow.weights() != slow.start()).all()


def test_sangers_rule_finds_principal_components_in_their_order():
    generator = np.random.default_rng(0)
    axes = np.linalg.qr(generator.normal(size=(16, 16)))[0]
    spread = 0.65 ** np.arange(16)
    patches = generator.normal(size=(60_000, 16)) * spread / np.linalg.norm(spread)
    learner = FilterLearner(Bank(4, 3, 1), 0.3)
    learn_filters(learner, patches @ axes.T)
    found = learner.weights() / np.linalg.norm(learner.weights(), axis=0)
    assert np.abs(np.sum(found * axes[:, :3], axis=0)).min() > 0.97


def test_whole_filters_are_bytes_that_evenness_leaves_silent():
    filters = whole_filters(np.random.default_rng(0).normal(2, 1, (25, 4)).astype(np.float32))
    assert filters.shape == (4, 5, 5) and filters.flags.c_contiguous
    assert (filters == np.rint(filters)).all() and (np.abs(filters).max(axis=(1, 2)) == 127).all()
    assert np.abs(filters.sum(axis=(1, 2))).max() <= 13  # half for each of 25 roundings


def test_patches_of_one_grey_are_left_out():
    assert len(sample_patches(np.full((3, 9, 9), 7, np.uint8), 4, 50, 0)) == 0


@given(st.integers(2, 6), st.integers(1, 6), st.floats(0.5, 2), st.integers(12, 28))
@settings(max_examples=40, deadline=None)
def test_every_place_belongs_to_a_block_and_every_block_has_places(size, blocks, reach, side):
    bank = Bank(size, 1, blocks, reach)
    members = bank.members(side)
    assert (members[:, 0] >= 0).all()
    assert set(range(blocks)) == set(members.ravel().tolist()) - {-1}


@given(SEEDS, st.integers(2, 7), st.sampled_from(["noise", "specks", "ramp"]))
@settings(max_examples=15, deadline=None)
def test_filters_stay_bounded_whatever_is_seen(seed, size, kind):
    generator = np.random.default_rng(seed)
    grids = {
        "noise": generator.integers(0, 256, (4, 12, 12)),
        "specks": 255 * (generator.random((4, 12, 12)) < 0.01),
        "ramp": np.tile(np.arange(12) * 20, (4, 12, 1)),
    }[kind].astype(np.uint8)
    learner = FilterLearner(Bank(size, 8, 1), 0.1, seed % 97)
    learn_filters(learner, sample_patches(grids, size, 3000, seed))
    assert np.abs(learner.weights()).max() < 2


# Contexts: the graph, the fast path, and loops that do what the words say


def contexts_by_hand(graph, grid):
    found, first = set(), 0
    for bank, filters, members in zip(graph.banks, graph.filters, graph.members, strict=True):
        for row, column in itertools.product(range(bank.positions(len(grid))), repeat=2):
            patch = grid[row : row + bank.size, column : column + bank.size].astype(float)
            code = sum(1 << i for i, one in enumerate(filters) if (one * patch).sum() > 0)
            for r, c in itertools.product(members[row], members[column]):
                if code and r >= 0 and c >= 0:
                    found.add(first + ((r * bank.blocks + c) << bank.filters) + code)
        first += bank.contexts
    return sorted(found)


@given(SEEDS)
@settings(max_examples=10, deadline=None)
def test_graph_and_fast_path_find_the_contexts_found_by_hand(seed):
    graph, grids = random_graph(seed), random_grids(seed)
    found = FastRecogniser(graph).active(grids)
    for grid, contexts, count in zip(grids, *found, strict=True):
        by_hand = contexts_by_hand(graph, grid)
        assert graph.active_in(grid).tolist() == by_hand
        assert sorted(contexts[:count].tolist()) == by_hand


@given(SEEDS, st.integers(2, 20))
@settings(max_examples=10, deadline=None)
def test_scores_of_spread_and_of_the_fast_path_are_equal(seed, classes):
    graph, grids = random_graph(seed, classes), random_grids(seed)
    assert verify_recogniser(graph, grids) == len(grids)
    scores = FastRecogniser(graph).scores(grids)
    assert [graph.predict(grid) for grid in grids] == scores.argmax(axis=1).tolist()


def test_verify_notices_a_changed_synapse_and_votes_that_are_not_whole():
    graph, grids = random_graph(0), random_grids(0, 20)
    graph.brain.connect(graph.pixels[40], graph.responses[0][3, 3, 0], 9999.0, "sees")
    assert verify_recogniser(graph, grids) < len(grids)
    graph = random_graph(0)
    graph.set_votes(graph.votes() + 0.5)
    with pytest.raises(ValueError, match="votes are not whole"):
        verify_recogniser(graph, grids)


def test_votes_learnt_in_bulk_are_those_of_the_graph():
    slow, fast = random_graph(1), FastRecogniser(random_graph(1))
    grids, labels = random_grids(1, 30), np.arange(30) % 3
    start = np.zeros_like(slow.votes())
    slow.set_votes(start)
    fast.votes[:] = 0
    for grid, label in zip(grids, labels, strict=True):
        slow.learn(grid, int(label))
    rates, losses = np.full(30, 0.01, np.float32), np.zeros(30, np.float32)
    fast_images._learn(*fast.active(grids), fast.votes, 3, labels, rates, losses)
    np.testing.assert_allclose(fast.votes[:, :3], slow.votes(), atol=1e-6)
    assert losses[0] == pytest.approx(np.log(3)) and (slow.votes() != start).any()


def test_threads_change_nothing():
    grids, labels = random_grids(2, 700), np.arange(700) % 3
    votes = []
    for threads in (1, 2, 3):
        fast = FastRecogniser(random_graph(2), threads)
        fast.fit(grids, labels, epochs=2, jitter=Jitter(shift=1.0), seed=5)
        votes.append(fast.votes)
    np.testing.assert_array_equal(votes[0], votes[1])
    np.testing.assert_array_equal(votes[0], votes[2])


def test_the_votes_for_a_class_add_up_to_its_score():
    graph, image = random_graph(3), random_grids(3)[0]
    votes = graph.explain(image, label=1, k=0)
    score = graph.scores(graph.vote(graph.active(image)))[1]
    assert sum(vote for vote, *_ in votes) == pytest.approx(float(score))
    places = [list(graph.banks).index(bank) for _, bank, *_ in votes]
    first = [0, graph.banks[0].contexts]
    contexts = [
        first[place] + ((row * bank.blocks + column) << bank.filters) + code
        for place, (_, bank, row, column, code) in zip(places, votes, strict=True)
    ]
    assert sorted(contexts) == graph.active(image).tolist()


def test_parts_that_do_not_fit_are_named():
    edge = [np.ones((3, 3, 3)), np.ones((2, 4, 4))]
    with pytest.raises(ValueError, match=r"classes are \['a'\]; allowed: two or more"):
        ImageRecogniser(["a"], edge, BANKS, EYE)
    with pytest.raises(ValueError, match=r"filters have shape \(2, 4, 4\); allowed: \(3, 3, 3\)"):
        ImageRecogniser(["a", "b"], edge[::-1], BANKS, EYE)
    with pytest.raises(ValueError, match="filters are not whole; allowed: whole numbers up to 127"):
        ImageRecogniser(["a", "b"], [edge[0] / 2, edge[1]], BANKS, EYE)
    with pytest.raises(ValueError, match="banks have 82,944 contexts; allowed: 1 to 65,536"):
        many = (Bank(3, 8, 18),)
        ImageRecogniser(["a", "b"], [np.ones((8, 3, 3))], many, ImageEncoder(side=28))
    with pytest.raises(IndexError, match="context is 1000000; allowed: 0 to 67"):
        random_graph(0).describe(10**6)


@pytest.mark.parametrize(
    ("labels", "kind", "message"),
    [
        ([0, 3], ValueError, "labels hold 3; allowed: 0 to 2"),
        ([-1, 0], ValueError, "labels hold -1; allowed: 0 to 2"),
        ([0.0, 1.0], TypeError, "labels are float64; allowed: whole numbers"),
        ([0], ValueError, "there are 1 labels and 2 images; allowed: one for each"),
    ],
)
def test_labels_that_are_not_allowed_are_named(labels, kind, message):
    graph, grids = random_graph(0), random_grids(0, 2)
    with pytest.raises(kind, match=message):
        FastRecogniser(graph).fit(grids, np.array(labels))
    levels = LevelRecogniser(["a", "b", "c"], side=12)
    with pytest.raises(kind, match=message):
        fit_levels(levels, active_levels(levels, grids), np.array(labels))
    if len(labels) == 2 and kind is ValueError:
        with pytest.raises(kind, match=message):
            graph.learn(grids[0], sorted(labels, key=abs)[-1])


def test_empty_sets_and_counts_below_one_are_named():
    graph = random_graph(0)
    with pytest.raises(ValueError, match="there are 0 labels and 0 images"):
        FastRecogniser(graph).fit(random_grids(0, 0), np.zeros(0, int))
    with pytest.raises(ValueError, match="epochs is 0; allowed: 1 or more"):
        FastRecogniser(graph).fit(random_grids(0, 2), np.zeros(2, int), epochs=0)
    with pytest.raises(ValueError, match="threads is 0; allowed: 1 or more"):
        FastRecogniser(graph, threads=0)
    assert FastRecogniser(graph).scores(random_grids(0, 0)).shape == (0, 3)


def test_whole_votes_are_cut_off_where_they_are_told_to():
    votes = np.array([[-4.0, 1.0], [0.5, 0.0]], np.float32)
    np.testing.assert_array_equal(whole_votes(votes), [[-127, 32], [16, 0]])
    np.testing.assert_array_equal(whole_votes(votes, 0.25), [[-127, 127], [64, 0]])
    assert not whole_votes(np.zeros((2, 2))).any()
    with pytest.raises(ValueError, match=r"clip is 0\.0; allowed: above 0 and up to 1"):
        whole_votes(votes, 0.0)
    with pytest.raises(ValueError, match="bits is 9; allowed: 2 to 8"):
        whole_votes(votes, bits=9)


@given(SEEDS, st.integers(2, 8), st.integers(1, 5), st.integers(2, 7))
@settings(max_examples=30, deadline=None)
def test_packed_votes_come_back(seed, bits, contexts, classes):
    most = 2 ** (bits - 1) - 1
    votes = np.random.default_rng(seed).integers(-most, most + 1, (contexts, classes), np.int8)
    packed = pack(votes, bits)
    assert packed.nbytes == (votes.size if bits > 4 else -(-votes.size // 2))
    np.testing.assert_array_equal(unpack(packed, bits, classes), votes)
    assert np.abs(whole_votes(votes + 0.25, bits=bits)).max() <= most


# The classifier: other sizes, values and labels, with the same code


@pytest.mark.parametrize(("height", "width", "top"), [(20, 17, None), (61, 40, 16.0)])
def test_pictures_of_other_sizes_and_values_are_learnt(height, width, top):
    images, labels = shapes(240, height, width)
    scale = top or 1.0
    encoder = ImageEncoder(side=20, upright=False, top=top)
    banks = (Bank(5, 5, 3),)
    model = ImageClassifier(banks, encoder, Jitter(shift=1.0), epochs=5, patches=5000)
    model.fit(images[:160] * scale, labels[:160])
    assert model.classes_.tolist() == ["cross", "flat", "upright"]
    assert model.score(images[160:] * scale, labels[160:]) > 0.9
    assert model.decision_function(images[:2] * scale).dtype == np.int32
    assert verify_recogniser(model.graph_, encoder.grids(images[160:170] * scale)) == 10


@pytest.mark.parametrize("bits", [4, 8])
def test_a_classifier_comes_back_from_what_it_packs(bits):
    images, labels = shapes(60)
    settings_ = ((Bank(3, 4, 2), Bank(3, 2, 2)), EYE, Jitter(), 2)
    model = ImageClassifier(*settings_, bits=bits, patches=500).fit(images, labels)
    packed = safetensors.load(safetensors.save(model.packed()))
    size = 4 * (16 + 4) * 3 * (0.5 if bits == 4 else 1)
    assert sum(part.nbytes for part in packed.values()) == 9 * 6 + size
    again = ImageClassifier(*settings_, bits=bits).restore(packed, model.classes_)
    np.testing.assert_array_equal(again.decision_function(images), model.decision_function(images))


def test_a_classifier_says_what_it_cannot_learn():
    images, labels = shapes(10)
    model = ImageClassifier((Bank(3, 2, 2),), EYE, patches=100)
    with pytest.raises(ValueError, match="has learnt nothing yet; call fit first"):
        model.predict(images)
    with pytest.raises(ValueError, match=r"labels have shape \(9,\); allowed: \(10,\)"):
        model.fit(images, labels[:9])
    with pytest.raises(ValueError, match=r"classes are \['flat'\]; allowed: two or more"):
        model.fit(images, np.full(10, "flat"))


def test_more_classes_than_a_line_of_the_cache_holds():
    images = np.zeros((60, 12, 12))
    labels = np.arange(60) % 20
    for image, label in zip(images, labels, strict=True):
        image[2 + label // 5 * 2, 2 + label % 5 * 2 : 4 + label % 5 * 2] = 1
    model = ImageClassifier((Bank(3, 4, 5),), EYE, Jitter(), epochs=20, patches=2000)
    assert model.fit(images, labels).score(images, labels) > 0.9


# The source's recipe


def test_levels_fire_one_neuron_a_cell_and_none_for_background():
    graph = LevelRecogniser(["a", "b"], side=4)
    grid = np.zeros((4, 4), np.uint8)
    grid[0, :] = 63, 64, 128, 255
    assert graph.active_in(grid).tolist() == [1 * 4 + 1, 2 * 4 + 2, 3 * 4 + 3]
    with pytest.raises(ValueError, match="levels is 1; allowed: 2 to 256"):
        LevelRecogniser(["a", "b"], levels=1)


@pytest.mark.parametrize("rule", ["adam", "delta"])
def test_the_recipe_learns_and_its_table_agrees_with_spread(rule):
    images, names = shapes(150)
    labels = np.unique(names, return_inverse=True)[1]
    graph = LevelRecogniser(["cross", "flat", "upright"], rule=rule)
    grids = graph.encoder(images)
    active = active_levels(graph, grids)
    fit_levels(graph, active, labels, epochs=10, batch=8)
    assert np.mean(scores_of(graph, active).argmax(axis=1) == labels) > 0.9
    assert verify_levels(graph, grids) == len(grids)
