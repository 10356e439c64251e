"""The source's steps to its story model, one by one, on the benchmark's words.

Names are the source's: #A mixes with the words alone, #B predicts by spread, #C weakens weights to
words drawn at random, #E lets words further back pull, #F asks the nearest of stored contexts.
"""

import functools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from plasticity.companion import datasets as data
from plasticity.companion import metrics
from plasticity.companion.configuration import (
    ExperimentConfig,
    Runtime,
    check_choice,
    check_range,
    setting,
)
from plasticity.experiments.substrate_story_model import BENCH, CLOZES, PROMPTS, REAL, TOPS
from plasticity.peers.kneser_ney import KneserNey
from plasticity.substrate.domains.stories.telling import cloze, tell
from plasticity.substrate.domains.stories.text import SPECIALS, Stream, Vocabulary, words_of
from plasticity.substrate.domains.stories.window import WindowModel, spread_scores

NEIGHBOURS, NEIGHBOUR_SHARE, TEMPERATURE = 50, 0.3, 5.0
FLOOR = 1e-8  # the source's lowest probability
AT_ONCE = 1024  # places scored in one go
SOURCE = {
    "weights": 1684,
    "spread": 1171,
    "unigram": 282,
    "unigram_negatives": 153,
    "unigram_negatives_neighbours": 122,
}
SOURCE_BASE, SOURCE_DROP = 1684, 0.94  # of its headline
Row = tuple[int, str, str, float]


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """One step of the ladder."""

    task: str = setting("window", "window, kneser_ney, subwords, binding or source")
    stories: int = setting(0, "training stories, the first of them; 0 for all")
    words: int = setting(0, "vocabulary; 0 for the benchmark's 2,500 and its stories")
    scored: int = setting(0, "test stories that are scored, the first of them; 0 for all")
    epochs: int = setting(10, "passes over the stories")
    unigram: float = setting(0.0, "share of the words alone in the mixture (#A)")
    fan: int = setting(0, "strongest synapses of each word that activation spreads by (#B); 0: all")
    negatives: int = setting(0, "words drawn for each place, to which weights are weakened (#C)")
    far: bool = setting(False, "whether words up to 16 places back pull (#E)")
    contexts: int = setting(0, "stored contexts of which the nearest are asked (#F); 0 for none")
    told: bool = setting(False, "whether words are guessed, and stories told")

    def __post_init__(self):
        """Check ranges."""
        super().__post_init__()
        check_choice("task", self.task, ("window", "kneser_ney", "subwords", "binding", "source"))
        for name in ("stories", "scored", "words", "contexts"):
            check_range(name, getattr(self, name), 0, 10_000_000)
        check_range("epochs", self.epochs, 0, 1000)
        check_range("unigram", self.unigram, 0, 1)
        check_range("fan", self.fan, 0, 100_000)
        check_range("negatives", self.negatives, 0, 100)


def datasets(config: Config) -> tuple[str, ...]:
    """Return the names of the datasets that a run reads."""
    if config.task == "source":
        return ()
    return (REAL,) if config.words else (BENCH,)


@functools.lru_cache(maxsize=2)
def texts(whole: bool, stories: int, scored: int) -> tuple[list[list[str]], list[list[str]]]:
    """Return the words of stories to train on and to score, from the benchmark or the corpus."""
    table = data.load(name := REAL if whole else BENCH)
    check_range(f"stories, of those that {name} has,", stories, 0, len(table["train"]))
    cut = words_of if whole else str.split
    lines = table["train"]["text"][: stories or None], table["test"]["text"][: scored or None]
    train, test = ([cut(line) for line in part] for part in lines)
    return train, test


class Mixture:
    """What the source predicts with: weights, the words alone, and neighbours, in fixed shares.

    Parameters
    ----------
    config : Config
    vocabulary : Vocabulary
    train : Stream
    window : WindowModel
    seed : int
        Draws the stored contexts.
    """

    def __init__(
        self,
        config: Config,
        vocabulary: Vocabulary,
        train: Stream,
        window: WindowModel,
        seed: int,
    ):
        self.config, self.vocabulary, self.window = config, vocabulary, window
        counts = np.bincount(train.words[train.scored], minlength=len(vocabulary)) + 1.0
        self.alone = counts / counts.sum()
        self.brain = window.graph(config.fan) if config.fan else None
        self.synapses = len(self.brain.edges()) if self.brain else 0
        if config.contexts:
            random = np.random.default_rng([seed, 1])
            able = np.flatnonzero(train.scored)
            stored = np.sort(random.permutation(able)[: config.contexts])
            self.known, self.followed = unit(window.scores(train, stored)), train.words[stored]

    def probabilities(self, stream: Stream, places: Sequence[int]) -> np.ndarray:
        """Return the probability of every word at some places, float64, shape (places, words)."""
        if self.config.unigram == 1:
            return np.tile(self.alone, (len(places), 1))
        scores = self.scores(stream, np.asarray(places))
        shares = softmax(scores)
        mixed = self.config.unigram * self.alone + (1 - self.config.unigram) * shares
        if self.config.contexts:
            mixed = NEIGHBOUR_SHARE * self._near(scores) + (1 - NEIGHBOUR_SHARE) * mixed
        return mixed

    def scores(self, stream: Stream, places: np.ndarray) -> np.ndarray:
        """Return the score of every word at some places, float32, shape (places, words)."""
        if self.brain is None:
            return self.window.scores(stream, places)
        return spread_scores(self.brain, stream, places)

    @property
    def numbers(self) -> int:
        """How many 4-byte numbers it predicts with; a synapse of the graph is two."""
        words = len(self.vocabulary)
        found = words * (self.config.unigram > 0) + words * self.config.contexts
        if self.config.unigram == 1:
            return found
        return found + (self.window.weights.size if self.brain is None else self.synapses * 2)

    def _near(self, scores: np.ndarray) -> np.ndarray:
        """Return shares of what followed the stored contexts with the nearest scores."""
        likeness = unit(scores) @ self.known.T  # (places, contexts)
        count = min(NEIGHBOURS, likeness.shape[1])
        nearest = np.argpartition(-likeness, count - 1, axis=1)[:, :count]
        shares = softmax(np.take_along_axis(likeness, nearest, axis=1) / TEMPERATURE)
        found = np.zeros((len(scores), len(self.vocabulary)))
        np.add.at(found, (np.arange(len(scores))[:, None], self.followed[nearest]), shares)
        return found

    def loss(self, stream: Stream) -> float:
        """Return the sum of negative logarithms of the probabilities of a stream's words."""
        places, total = np.flatnonzero(stream.scored), 0.0
        for start in range(0, len(places), AT_ONCE):
            part = places[start : start + AT_ONCE]
            own = self.probabilities(stream, part)[np.arange(len(part)), stream.words[part]]
            total -= np.log(np.maximum(own, FLOOR)).sum()
        return total


def unit(scores: np.ndarray) -> np.ndarray:
    """Return rows at length 1, or 0 where they have none."""
    return scores / np.maximum(np.sqrt((scores**2).sum(axis=1, keepdims=True)), 1e-12)


def softmax(scores: np.ndarray) -> np.ndarray:
    """Return the shares of the exponentials in each row."""
    shares = np.exp(scores - scores.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


@dataclass(frozen=True, eq=False)
class Corpus:
    """Stories as streams, with their vocabulary."""

    vocabulary: Vocabulary
    train: Stream
    test: Stream


@functools.lru_cache(maxsize=2)
def corpus(words: int, stories: int, scored: int) -> Corpus:
    """Return the stories of a config."""
    train, test = texts(bool(words), stories, scored)
    if words:
        vocabulary = Vocabulary.of(train, words)
    else:
        vocabulary = Vocabulary(data.load(BENCH)["vocabulary"]["text"])
    parts = (Stream.of([vocabulary.numbers(story) for story in part]) for part in (train, test))
    return Corpus(vocabulary, *parts)


@functools.lru_cache(maxsize=2)
def window(
    given: Corpus, epochs: int, negatives: int, far: bool, seed: int, stories: int = 0
) -> tuple[WindowModel, float]:
    """Return a trained model, and how many places a second it learnt from."""
    model = WindowModel(len(given.vocabulary), negatives, far, stories)
    model.learn(Stream.of([np.zeros(0, int)]), np.random.default_rng(0))  # compiles
    model = WindowModel(len(given.vocabulary), negatives, far, stories)
    random, places, started = np.random.default_rng(seed), 0, time.process_time()
    for _ in range(epochs):
        places += model.learn(given.train, random)
    return model, places / max(time.process_time() - started, 1e-9)


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Take one step of the ladder.

    Parameters
    ----------
    config : Config
    seed : int
        Draws negatives and stored contexts, words that are asked and told.
    folder : Path
        Nothing is written into it.
    runtime : Runtime
        Not used.

    Returns
    -------
    pandas.DataFrame
        Columns step, split, metric, value, unit.
    """
    step = {
        "window": _window,
        "kneser_ney": _kneser_ney,
        "subwords": _subwords,
        "binding": _binding,
        "source": _source,
    }[config.task]
    frame = pd.DataFrame(step(config, seed), columns=["step", "split", "metric", "value"])
    return frame.assign(unit=[metrics.metric(name).unit for name in frame["metric"]])


def mixture(config: Config, seed: int) -> tuple[Mixture, Corpus, float]:
    """Train the model of a step; return it with its stories and the places learnt a second."""
    given = corpus(config.words, config.stories, config.scored)
    own = seed if config.negatives else 0  # else nothing is drawn
    model, speed = window(given, config.epochs, config.negatives, config.far, own)
    return Mixture(config, given.vocabulary, given.train, model, seed), given, speed


def _window(config: Config, seed: int) -> Iterator[Row]:
    model, given, speed = mixture(config, seed)
    perplexity = math.exp(model.loss(given.test) / given.test.scored.sum())
    yield 0, "test", "perplexity", perplexity
    yield 0, "test", "relative_perplexity", 100 * perplexity / len(given.vocabulary)
    yield 0, "test", "scored_tokens", int(given.test.scored.sum())
    if config.epochs:
        yield 0, "train", "pairs_per_second", speed
    yield 0, "train", "tokens", int(given.train.scored.sum())
    yield 0, "train", "megabytes", 4 * model.numbers / 1e6
    if config.variant == "unigram_spread":
        plain, _, _ = mixture(Config(**{**vars(config), "variant": "plain", "fan": 0}), seed)
        without = math.exp(plain.loss(given.test) / given.test.scored.sum())
        yield 0, "without spread", "perplexity", without
        yield 0, "test", "spread_adds_nothing", float(perplexity >= without)
    if config.far:
        near, _, _ = mixture(Config(**{**vars(config), "variant": "near", "far": False}), seed)
        without = math.exp(near.loss(given.test) / given.test.scored.sum())
        yield 0, "without far words", "perplexity", without
        yield 0, "test", "far_context_adds_nothing", float(perplexity >= without)
    if config.told:
        yield from _told(model, given.test, seed)


def _told(model: Mixture, stream: Stream, seed: int) -> Iterator[Row]:
    random = np.random.default_rng([seed, 2])
    ranks = cloze(model, stream, random, CLOZES)
    for top in TOPS:
        yield top, "test", "cloze_accuracy", 100 * np.mean(ranks <= top)
    yield 0, "test", "mean_rank", ranks.mean()
    yield 0, "test", "median_rank", np.median(ranks)
    yield 0, "test", "cloze_benchmark_recorded", float(len(ranks) > 0)
    told = [tell(model, prompt, random) for prompt in PROMPTS]
    yield 0, "test", "three_continuations_recorded", float(all(told))


def _kneser_ney(config: Config, seed: int) -> Iterator[Row]:
    train, test = texts(bool(config.words), config.stories, config.scored)
    vocabulary = corpus(config.words, config.stories, config.scored).vocabulary
    numbers = [[vocabulary.numbers(story) for story in part] for part in (train, test)]
    model = KneserNey(numbers[0], len(vocabulary), 5)
    logs = np.concatenate(model.log_probabilities(numbers[1]))
    yield 0, "test", "perplexity", math.exp(-logs.mean())
    yield 0, "test", "relative_perplexity", 100 * math.exp(-logs.mean()) / len(vocabulary)


def _subwords(config: Config, seed: int) -> Iterator[Row]:
    """Compare pieces of words with words by bits for each character of the same stories."""
    given = corpus(0, config.stories, config.scored)
    train, test = (
        [" ".join(s) for s in part] for part in texts(False, config.stories, config.scored)
    )
    characters = sum(len(text) + 1 for text in test)  # and the end of each
    pieces = piece_corpus(train, test, len(given.vocabulary))
    bits = {}
    for split, own in (("words", given), ("subwords", pieces)):
        model, _ = window(own, config.epochs, config.negatives, config.far, seed)
        loss = Mixture(config, own.vocabulary, own.train, model, seed).loss(own.test)
        bits[split] = loss / math.log(2) / characters
        yield 0, split, "bits_per_character", bits[split]
    yield 0, "test", "subwords_worse_than_words", float(bits["subwords"] > bits["words"])


def piece_corpus(train: list[str], test: list[str], size: int) -> Corpus:
    """Return stories cut into pieces of words, learnt from the training stories by merging pairs.

    Parameters
    ----------
    train, test : list of str
    size : int
        Of the vocabulary, specials included.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token=SPECIALS[1]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(SPECIALS), show_progress=False
    )
    tokenizer.train_from_iterator(train, trainer)
    vocabulary = Vocabulary(sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get))
    parts = (
        Stream.of([np.array(tokenizer.encode(text).ids, np.int32) for text in part])
        for part in (train, test)
    )
    return Corpus(vocabulary, *parts)


def _binding(config: Config, seed: int) -> Iterator[Row]:
    """Give each training story a neuron; name it (oracle), or guess it from the last words."""
    given = corpus(config.words, config.stories, config.scored)
    count = len(given.train.starts) - 1
    bound, _ = window(given, config.epochs, config.negatives, False, seed, count)
    plain, _ = window(given, config.epochs, config.negatives, False, seed)
    asked = given.train.starts[min(count, len(given.test.starts) - 1)]
    places = np.flatnonzero(given.train.scored[:asked])
    own = np.searchsorted(given.train.starts, places, side="right") - 1
    shown = np.flatnonzero(given.test.scored)
    met = {
        "none": plain.scores(given.train, places),
        "oracle": bound.scores(given.train, places, own),
        "predicted": bound.scores(given.train, places, bound.guess(given.train, places)),
    }
    new = {
        "none": plain.scores(given.test, shown),
        "predicted": bound.scores(given.test, shown, bound.guess(given.test, shown)),
    }
    found = {}
    for name, where, stream, at in (
        ("met", met, given.train, places),
        ("test", new, given.test, shown),
    ):
        for story, scores in where.items():
            shares = softmax(scores)[np.arange(len(at)), stream.words[at]]
            found[name, story] = math.exp(-np.log(np.maximum(shares, FLOOR)).mean())
            yield 0, f"{name}, {story}", "perplexity", found[name, story]
    yield 0, "met", "sentence_id_accuracy", 100 * np.mean(bound.guess(given.train, places) == own)
    helps = found["met", "oracle"] < found["met", "none"]
    fails = found["test", "predicted"] >= found["test", "none"]
    yield 0, "test", "predicted_id_fails_where_oracle_helps", float(helps and fails)


def _source(config: Config, seed: int) -> Iterator[Row]:
    """Compute the source's headline again: so much less than the baseline that it names."""
    yield 0, "readme", "source_perplexity", (1 - SOURCE_DROP) * SOURCE_BASE
