"""The source's own recipe for stories, held to plain Python; states; the chapters' experiments."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from plasticity.companion.configuration import Runtime
from plasticity.experiments import substrate_story_ladder as ladder
from plasticity.experiments import substrate_story_model as story_model
from plasticity.findings import substrate_stories
from plasticity.substrate.domains.stories import window
from plasticity.substrate.domains.stories.states import LENGTHS, POSITIONS, states_of
from plasticity.substrate.domains.stories.text import Stream, Vocabulary

WORDS = 8
STORIES = st.lists(
    st.lists(st.integers(4, WORDS - 1), max_size=20).map(np.array), min_size=1, max_size=6
)


def changes(weights, stream, drawn, reach, bound):
    """Do what `window.mistakes` does, place by place."""
    change, cues = np.zeros_like(weights), np.zeros((WORDS, len(weights) - WORDS), np.float32)
    drawn = iter(drawn)
    for story, (start, stop) in enumerate(zip(stream.starts, stream.starts[1:], strict=False)):
        words = stream.words[start:stop]
        for place in range(1, len(words)):
            near = words[max(0, place - window.WINDOW) : place][::-1]
            strengths = np.float32(window.DECAY) ** np.arange(len(near), dtype=np.float32)
            score = weights[WORDS + story].copy() if bound else np.zeros(WORDS, np.float32)
            for word, strength in zip(near, strengths, strict=True):
                score += strength * weights[word]
            guess, target = int(score.argmax()), int(words[place])
            blank = score[guess] <= 0
            if blank or guess != target:
                sources = [(int(word), s) for word, s in zip(near, strengths, strict=True)]
                for word, strength in sources + ([(WORDS + story, 1)] if bound else []):
                    change[word, target] += strength
                    change[word, guess] -= 0 if blank else strength
                    if bound and word < WORDS:
                        cues[word, story] += strength
                for word in words[max(0, place - reach) : max(0, place - window.WINDOW)]:
                    change[word, target] += np.float32(window.FAR_PULL)
            for negative in next(drawn):
                if negative != target:
                    for word, strength in zip(near, strengths, strict=True):
                        change[word, negative] -= np.float32(window.NEGATIVE_PULL) * strength
    return change, cues


@settings(deadline=None, max_examples=40)
@given(STORIES, st.integers(0, 3), st.booleans(), st.booleans(), st.integers(0, 2**32 - 1))
def test_a_pass_changes_what_plain_python_does(stories, negatives, far, bound, seed):
    stream, random = Stream.of(stories), np.random.default_rng(seed)
    rows = WORDS + (len(stories) if bound else 0)
    # Not of round numbers alone: between equal scores rounding would choose the guess.
    weights = random.integers(-4, 5, (rows, WORDS)) / 4 + random.normal(0, 0.01, (rows, WORDS))
    weights = weights.astype(np.float32)
    drawn = random.integers(0, WORDS, (int(stream.scored.sum()), negatives))
    reach = window.FAR if far else window.WINDOW
    change = np.zeros_like(weights)
    cues = np.zeros((WORDS, rows - WORDS), np.float32)
    window.mistakes(change, cues, weights, stream.words, stream.places, drawn, reach)
    expected, expected_cues = changes(weights, stream, drawn, reach, bound)
    assert change == pytest.approx(expected, abs=1e-4)
    assert cues == pytest.approx(expected_cues, abs=1e-4)


def test_spread_is_two_cycles_of_the_matrix_without_what_is_negative():
    stream = Stream.of([np.array([4, 5, 6, 4, 5, 7]), np.array([6])])
    model = window.WindowModel(WORDS, negatives=2)
    for _ in range(3):
        model.learn(stream, np.random.default_rng(0))
    model.weights[np.abs(model.weights) < window.FEWEST_WEIGHT] = 0
    assert (model.weights < 0).any()
    places = np.flatnonzero(stream.scored)
    found = window.spread_scores(model.graph(fan=100), stream, places)
    for row, place in zip(found, places, strict=True):
        level = np.zeros(WORDS)
        for back in range(1, 1 + min(window.WINDOW, int(stream.places[place]))):
            level[stream.words[place - back]] = window.DECAY ** (back - 1)
        for _ in range(2):
            level = np.maximum(0.5 * level + level @ model.weights, 0)
        assert row == pytest.approx(level, abs=1e-6)
    assert len(model.graph(fan=2).edges()) <= 2 * WORDS


def test_a_bound_story_is_guessed_from_its_words():
    stream = Stream.of([np.array([4, 5, 4, 5, 4]), np.array([6, 7, 6, 7, 6])])
    model = window.WindowModel(WORDS, stories=2)
    for _ in range(5):
        model.learn(stream, np.random.default_rng(0))
    places = np.array([3, 4, 10, 11])
    assert model.guess(stream, places).tolist() == [0, 0, 1, 1]
    bound = model.scores(stream, places, np.array([0, 0, 1, 1])).argmax(axis=1)
    assert bound.tolist() == stream.words[places].tolist()


def test_states_follow_position_sentence_and_quotes():
    vocabulary = Vocabulary(["<pad>", "<unk>", "<bos>", "<eos>", ".", '"', "a"])
    stop, quote, word = 4, 5, 6
    stream = Stream.of([np.array([word, word, stop, quote, word]), np.array([word])])
    kinds = ("position", "sentence", "word", "word_before")
    found = states_of(stream, vocabulary, kinds)
    sentence = found[1:7, 1] - POSITIONS
    assert (sentence // 2).tolist() == [0, 1, 2, 0, 1, 2]
    assert (sentence % 2).tolist() == [0, 0, 0, 0, 1, 1]
    assert found[8, 1] - POSITIONS == 0  # a quotation left open ends with its story
    last = POSITIONS + 2 * LENGTHS
    assert found[2, 2] == last + word and found[1, 3] == -1
    assert found[2, 3] == last + len(vocabulary) + 2  # the mark that begins the story
    assert (found[:, 0] >= 0).all() and (np.diff(found[:7, 0]) >= 0).all()


@pytest.mark.parametrize(
    ("module", "changes", "message"),
    [
        (story_model, {"model": "forest"}, "model is 'forest'"),
        (story_model, {"stories": -1}, "stories is -1"),
        (story_model, {"states": ["mood"]}, "states is 'mood'"),
        (story_model, {"longest": 0}, "longest is 0"),
        (ladder, {"task": "rope"}, "task is 'rope'"),
        (ladder, {"unigram": 1.5}, "unigram is 1.5"),
        (ladder, {"epochs": -1}, "epochs is -1"),
    ],
)
def test_settings_out_of_range_are_named(module, changes, message):
    with pytest.raises(ValueError, match=message):
        module.Config.from_dict(changes)


def test_more_stories_than_the_benchmark_has_come_from_the_whole_corpus(monkeypatch):
    texts = [f"Tom saw {number} dogs." for number in range(story_model.BENCH_STORIES + 10)]
    corpus = {
        name: Dataset.from_dict({"text": part})
        for name, part in (("train", texts), ("validation", ["Tom ran."]))
    }
    benchmark = {"train": {"text": 10 * ["tom saw a dog ."]}, "test": {"text": ["tom ran ."]}}
    tables = {story_model.REAL: corpus, story_model.BENCH: benchmark}
    monkeypatch.setattr(story_model.data, "load", tables.__getitem__)
    count = story_model.BENCH_STORIES + 5
    config = story_model.Config(stories=count, words=8)
    assert story_model.datasets(config) == (story_model.BENCH, story_model.REAL)
    given = story_model.stories(config)
    assert len(given.train) == count and len(given.scored) == 1 and len(given.vocabulary) == 8
    few = story_model.Config(stories=3, words=8)
    assert len(story_model.stories(few).train) == 3
    assert story_model.datasets(few) == (story_model.BENCH,)
    with pytest.raises(ValueError, match="stories, of those that tinystories has, is 3000"):
        story_model.stories(story_model.Config(stories=3000, words=8))


def test_the_source_contradicts_its_own_headline():
    config = ladder.Config(task="source")
    rows = ladder.run(config, 0, Path(), Runtime())
    assert rows["value"].tolist() == pytest.approx([101.04])


def test_a_study_half_done_is_told_as_far_as_it_is_done():
    columns = ["variant", "seed", "step", "split", "metric", "value"]
    peer = [
        ("kneser_ney_5", 0, 0, "test", "perplexity", 21.0),
        ("kneser_ney_5", 0, 0, "train", "tokens", 555_550.0),
    ]
    graph = [("graph", 0, 0, "test", "perplexity", 21.0 * 0.71)]
    assert "within 0.5 %" in substrate_stories.model(pd.DataFrame(peer, columns=columns))
    both = substrate_stories.model(pd.DataFrame(peer + graph, columns=columns))
    assert "0.710 of Kneser-Ney's 21.00" in both and "not both met" in both


def test_sizes_set_the_graph_beside_kneser_ney_and_say_what_more_stories_cost():
    lines = []
    for variant, words, perplexity, seconds in (
        ("scale_500", 1000, 20.0, 4.0),
        ("scale_500_kneser_ney", 1000, 30.0, 1.0),
        ("scale_all", 3000, 12.0, 10.0),
        ("scale_all_kneser_ney", 3000, 20.0, 2.0),
        ("scale_1000", 2000, 15.0, 6.0),  # its peer is not measured yet
    ):
        lines += [
            (variant, 0, 0, "train", "tokens", words),
            (variant, 0, 0, "train", "build_seconds", seconds / 2),
            (variant, 0, 0, "train", "learning_seconds", seconds / 2),
            (variant, 0, 0, "train", "megabytes", 7.0),
            (variant, 0, 0, "validation", "perplexity", perplexity),
            (variant, 0, 0, "validation", "relative_perplexity", perplexity / 25),
        ]
    columns = ["variant", "seed", "step", "split", "metric", "value"]
    rows = pd.DataFrame(lines, columns=columns)
    table = substrate_stories.sizes(rows)
    assert table.index.tolist() == ["1,000 words", "3,000 words"]
    assert table.loc["3,000 words", "of the vocabulary, %: graph"] == "0.48"
    assert table.loc["3,000 words", "seconds: graph"] == "10.0"
    said = substrate_stories._scaling(rows)
    assert "1,000 words: 20.0 against 30.0 (0.67)" in said
    assert "3.0 times as many words take 2.5 times as long" in said
