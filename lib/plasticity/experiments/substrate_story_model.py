"""A language model of stories in the graph, beside modified Kneser-Ney smoothing of the same words.

Settings are chosen on the last tenth of the training stories. The test split is scored by models of
all training stories whose config asks for it, once each.
"""

import time
from collections.abc import Iterator
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
from plasticity.peers.kneser_ney import KneserNey
from plasticity.substrate.domains.stories.counts import Chain
from plasticity.substrate.domains.stories.graph import StoryBrain
from plasticity.substrate.domains.stories.model import CLASSES, SKIPS, Parts, StoryModel
from plasticity.substrate.domains.stories.states import KINDS
from plasticity.substrate.domains.stories.telling import cloze, tell
from plasticity.substrate.domains.stories.text import UNKNOWN, Stream, Vocabulary, words_of

BENCH, REAL, SAMPLED = "tinystories_bench", "tinystories", "stories_sampled"
BENCH_STORIES = 2665  # stories that the benchmark trains on
HELD = 0.1  # share of the training stories, the last, that settings are chosen on
CLOZES = 500
TOPS = (1, 5, 10)
PROMPTS = ("once upon a time", "the little girl", "tom and")
SUMMED = 5  # stories in which the probabilities of all words are added up at every place
COMPARED = 20  # places at which the fast path is compared with spread
COMPARED_MOST = 2_000_000  # synapses of the graph, which are grown one by one for it
Row = tuple[int, str, str, float]


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """Which model of which stories."""

    model: str = setting("graph", "graph or kneser_ney")
    split: str = setting("validation", "what is scored: validation (last tenth of train) or test")
    stories: int = setting(0, "training stories, the first of them; 0: all of the benchmark's")
    sampled: int = setting(0, "sampled stories to train on besides; the reference has none")
    learnt: int = setting(0, "stories that the weights are learnt from; 0 for all")
    passes: int = setting(1, "times that each of them is read")
    learn: bool = setting(True, "whether weights are learnt; else only the first chain speaks")
    order: int = setting(5, "longest n-gram of Kneser-Ney")
    longest: int = setting(5, "words in the longest context of the first chain")
    skips: bool = setting(True, "whether chains that pass over words speak")
    classes: bool = setting(True, "whether chains of classes of words speak")
    memory: bool = setting(True, "whether working memory speaks")
    states: tuple[str, ...] = setting(KINDS, "kinds of states that speak")
    words: int = setting(0, "vocabulary: the most frequent words; 0 for the benchmark's 2,500")
    scored: int = setting(0, "stories that are scored, the first of them; 0 for all")
    cloze: bool = setting(False, "whether words are guessed, and stories told")

    def __post_init__(self):
        """Check ranges."""
        super().__post_init__()
        check_choice("model", self.model, ("graph", "kneser_ney"))
        check_choice("split", self.split, ("validation", "test"))
        for name in ("stories", "sampled", "learnt", "words", "scored"):
            check_range(name, getattr(self, name), 0, 10_000_000)
        check_range("passes", self.passes, 1, 100)
        check_range("order", self.order, 1, 9)
        check_range("longest", self.longest, 1, 9)
        for kind in self.states:
            check_choice("states", kind, KINDS)

    @property
    def parts(self) -> Parts:
        """What the graph's model is made of."""
        first = Chain(tuple(range(1, self.longest + 1)))
        others = (*(SKIPS if self.skips else ()), *(CLASSES if self.classes else ()))
        return Parts((first, *others), self.memory, self.states)


def datasets(config: Config) -> tuple[str, ...]:
    """Return the names of the datasets that a run reads."""
    more = (REAL,) if config.stories > BENCH_STORIES else ()
    return (BENCH, *more, *((SAMPLED,) if config.sampled else ()))


@dataclass(frozen=True, eq=False)
class Stories:
    """Stories to train on and to be scored, as numbers of words."""

    vocabulary: Vocabulary
    train: list[np.ndarray]
    scored: list[np.ndarray]


def stories(config: Config) -> Stories:
    """Load the stories of a config: the benchmark's, or more than it has from the corpus."""
    bench = data.load(BENCH)
    whole = config.stories > BENCH_STORIES
    train, scored = _of_the_corpus(config) if whole else _of_the_benchmark(config, bench)
    if config.sampled:
        sampled = data.load(SAMPLED)["train"]["text"][: config.sampled]
        train += [words_of(text) for text in sampled]
    if config.words:
        vocabulary = Vocabulary.of(train, config.words)
    else:
        vocabulary = Vocabulary(bench["vocabulary"]["text"])
    return Stories(vocabulary, *([vocabulary.numbers(s) for s in part] for part in (train, scored)))


def _of_the_benchmark(config: Config, bench) -> tuple[list[list[str]], list[list[str]]]:
    """Return the words of stories to train on and to score, which are cut already."""
    train = [line.split() for line in bench["train"]["text"]]
    held = round(len(train) * HELD)
    if config.split == "test":
        scored = [line.split() for line in bench["test"]["text"]]
    else:
        train, scored = train[:-held], train[-held:]
    check_range("stories, of those to train on,", config.stories, 0, len(train))
    return train[: config.stories or None], scored[: config.scored or None]


def _of_the_corpus(config: Config) -> tuple[list[list[str]], list[list[str]]]:
    """Return the words of stories to train on and to score; the Hub has hundreds of thousands."""
    table = data.load(REAL)
    check_range(f"stories, of those that {REAL} has,", config.stories, 0, len(table["train"]))
    train, scored = table["train"]["text"], table[config.split]["text"]
    cut = train[: config.stories], scored[: config.scored or None]
    return tuple([words_of(text) for text in part] for part in cut)


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Train a model and score it.

    Parameters
    ----------
    config : Config
    seed : int
        Order of the stories that weights are learnt from; words asked for and drawn.
    folder : Path
        Nothing is written into it.
    runtime : Runtime
        Not used.

    Returns
    -------
    pandas.DataFrame
        Columns step, split, metric, value, unit. Split ``validation`` or ``test`` is what was
        scored; ``train`` is cost, and what the model takes.
    """
    kind = {"graph": _graph, "kneser_ney": _kneser_ney}[config.model]
    frame = pd.DataFrame(kind(config, seed), columns=["step", "split", "metric", "value"])
    return frame.assign(unit=[metrics.metric(name).unit for name in frame["metric"]])


def trained(config: Config, seed: int, given: Stories) -> tuple[StoryModel, dict[str, float]]:
    """Count stories and learn the weights.

    Returns
    -------
    StoryModel
    dict of str to float
        ``build_seconds``, ``learning_seconds``, of one core.
    """
    started = time.process_time()
    model = StoryModel.counted(Stream.of(given.train), given.vocabulary, config.parts)
    counted = time.process_time()
    random = np.random.default_rng(seed)
    chosen = random.permutation(len(given.train))[: config.learnt or None]
    if config.learn:
        order = [random.permutation(len(chosen)) for _ in range(config.passes)]
        own = Stream.of([given.train[story] for story in chosen])
        model.learn(own, np.concatenate(order))
    learnt = time.process_time()
    return model, {"build_seconds": counted - started, "learning_seconds": learnt - counted}


def _graph(config: Config, seed: int) -> Iterator[Row]:
    started = time.perf_counter()
    given = stories(config)
    model, seconds = trained(config, seed, given)
    tokens = sum(map(len, given.train)) + len(given.train)
    for name, value in seconds.items():
        yield 0, "train", name, value
    yield 0, "train", "tokens", tokens
    yield 0, "train", "tokens_per_second", tokens / sum(seconds.values())
    for name, value in model.size.items():
        yield 0, "train", name, value
    stream = Stream.of(given.scored)
    scoring = time.process_time()
    logs = model.log_probabilities(stream)
    scored = time.process_time() - scoring
    yield 0, config.split, "tokens_per_second", stream.scored.sum() / scored
    yield from _scores(
        config, logs[stream.scored], stream.words[stream.scored], len(given.vocabulary)
    )
    random = np.random.default_rng([seed, 1])
    some = Stream.of(given.scored[:SUMMED])
    sums = model.probabilities(some, np.flatnonzero(some.scored)).sum(axis=1, dtype=float)
    yield 0, config.split, "probability_error", np.abs(sums - 1).max()
    if config.cloze:
        yield from _told(config, model, stream, random)
        yield 0, "train", "seconds", time.perf_counter() - started
        if model.size["synapses"] <= COMPARED_MOST:
            yield 0, config.split, "probability_difference", _difference(model, stream, random)


def _told(config: Config, model: StoryModel, stream: Stream, random) -> Iterator[Row]:
    ranks = cloze(model, stream, random, CLOZES)
    for top in TOPS:
        yield top, config.split, "cloze_accuracy", 100 * np.mean(ranks <= top)
    yield 0, config.split, "mean_rank", ranks.mean()
    yield 0, config.split, "median_rank", np.median(ranks)
    for prompt in PROMPTS:
        yield 0, prompt, "words", len(tell(model, prompt, random))


def _difference(model: StoryModel, stream: Stream, random) -> float:
    """Return the largest difference of a probability between `Brain.spread` and the fast path."""
    places = np.sort(random.permutation(np.flatnonzero(stream.scored))[:COMPARED])
    slow, fast = StoryBrain(model), model.probabilities(stream, places)
    found = [slow.probabilities(stream, place) for place in places]
    return np.abs(np.array(found) - fast).max()


def _kneser_ney(config: Config, seed: int) -> Iterator[Row]:
    given = stories(config)
    started = time.process_time()
    model = KneserNey(given.train, len(given.vocabulary), config.order)
    seconds = time.process_time() - started
    tokens = sum(map(len, given.train)) + len(given.train)
    yield 0, "train", "build_seconds", seconds
    yield 0, "train", "tokens", tokens
    yield 0, "train", "tokens_per_second", tokens / seconds
    logs = np.concatenate(model.log_probabilities(given.scored))
    stream = Stream.of(given.scored)
    yield from _scores(config, logs, stream.words[stream.scored], len(given.vocabulary))


def _scores(config: Config, logs: np.ndarray, words: np.ndarray, size: int) -> Iterator[Row]:
    perplexity = np.exp(-logs.mean())
    yield 0, config.split, "scored_tokens", len(logs)
    yield 0, config.split, "perplexity", perplexity
    yield 0, config.split, "relative_perplexity", 100 * perplexity / size
    yield 0, config.split, "known_perplexity", np.exp(-logs[words != UNKNOWN].mean())
