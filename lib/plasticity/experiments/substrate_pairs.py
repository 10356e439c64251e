"""How many pairs of words a second Hebbian learning with sampled negatives takes in.

The same stream of words for every kind: a matrix of all pairs, the graph while its synapses are
still pending (found by hash), the graph once they stand in rows, and rows whose every synapse is
scored before each pair, as the reference counts; and word2vec of gensim, where it is installed.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from plasticity.companion import metrics
from plasticity.companion.configuration import (
    ExperimentConfig,
    Runtime,
    check_choice,
    check_range,
    setting,
)
from plasticity.substrate import Brain
from plasticity.substrate.fast import DensePairs, learn_scored

KINDS = ("dense", "pending", "rows", "scored", "word2vec")
BATCH = 1 << 16  # pairs learnt by one call
DIMENSIONS = 64  # of gensim's vectors


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """One way to learn the pairs of a stream of words."""

    kind: str = setting("dense", "dense, pending, rows, scored, or word2vec (gensim)")
    words: int = setting(2500, "size of the vocabulary; words are drawn by Zipf's law")
    pairs: int = setting(3_000_000, "pairs of neighbours learnt in each repeat")
    negatives: int = setting(3, "negatives drawn for each pair")
    threads: int = setting(1, "threads")
    repeats: int = setting(5, "how often the stream is learnt and timed, after once untimed")

    def __post_init__(self):
        """Check types and ranges."""
        super().__post_init__()
        check_choice("kind", self.kind, KINDS)
        check_range("words", self.words, 2, 100_000)
        check_range("pairs", self.pairs, 1000, 2**31)
        check_range("negatives", self.negatives, 0, 100)
        check_range("threads", self.threads, 1, 64)
        check_range("repeats", self.repeats, 1, 1000)


def datasets(config: Config) -> tuple[str, ...]:
    """Return the datasets that a run reads: none, the words are drawn."""
    return ()


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Learn the stream again and again, and time it.

    Parameters
    ----------
    config : Config
    seed : int
        Draws the words and the negatives.
    folder : Path
        Nothing is written into it.
    runtime : Runtime
        Not used: the number of threads is a setting.

    Returns
    -------
    pandas.DataFrame
        Columns step (the repeat), split (``wall`` and ``processor``: seconds of the clock, and of
        all cores added), metric, value, unit.
    """
    stream = words(config, seed)
    learn = (
        _word2vec(config, stream, seed)
        if config.kind == "word2vec"
        else _graph(config, stream, seed)
    )
    learn()
    rows = []
    for repeat in range(config.repeats):
        wall, processor = time.perf_counter(), time.process_time()
        learn()
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        rows.append((repeat, "wall", "pairs_per_second", config.pairs / wall))
        rows.append((repeat, "processor", "pairs_per_second", config.pairs / processor))
    rows.append((0, "machine", "load_average", os.getloadavg()[0]))
    frame = pd.DataFrame(rows, columns=["step", "split", "metric", "value"])
    return frame.assign(unit=[metrics.metric(name).unit for name in frame["metric"]])


def words(config: Config, seed: int) -> np.ndarray:
    """Return the stream, one word more than there are pairs, drawn by Zipf's law.

    Parameters
    ----------
    config : Config
    seed : int

    Returns
    -------
    ndarray of uint32, shape (pairs + 1,)
    """
    frequency = 1 / np.arange(1, config.words + 1)
    generator = np.random.default_rng(seed)
    drawn = generator.choice(config.words, config.pairs + 1, p=frequency / frequency.sum())
    return drawn.astype(np.uint32)


def _graph(config: Config, stream: np.ndarray, seed: int):
    """Return a function that learns every pair of neighbours once, in a graph already grown."""
    brain = Brain(seed=seed, threads=config.threads)
    brain.relation("next", rule="hebbian", limit=1.0, learning_rate=0.1)
    brain.grow(config.words)
    noise = np.bincount(stream, minlength=config.words)
    sources, targets = stream[:-1], stream[1:]
    learn = {
        "dense": DensePairs(brain, "next", config.words).learn_contrast,
        "scored": lambda *pairs, **how: learn_scored(brain, *pairs, "next", **how),
    }.get(config.kind, lambda *pairs, **how: brain.learn_contrast(*pairs, "next", **how))
    if config.kind != "dense":
        brain.connect(sources, targets, 0.0, "next")
    if config.kind in ("rows", "scored"):
        brain.consolidate()

    def once():
        for start in range(0, config.pairs, BATCH):
            part = slice(start, start + BATCH)
            learn(sources[part], targets[part], noise=noise, negatives=config.negatives)

    return once


def _word2vec(config: Config, stream: np.ndarray, seed: int):
    """Return a function that trains gensim's skip-gram on as many pairs, half of them backwards."""
    try:
        from gensim.models import Word2Vec
    except ImportError as error:
        raise ImportError(
            "word2vec needs gensim, an optional peer: pip install 'plasticity[peers]'"
        ) from error
    text = [str(word) for word in stream[: config.pairs // 2 + 1]]
    sentences = [text[start : start + 1000] for start in range(0, len(text), 1000)]
    model = Word2Vec(
        vector_size=DIMENSIONS,
        window=1,
        min_count=1,
        sample=0,
        sg=1,
        negative=config.negatives,
        workers=config.threads,
        seed=seed,
    )
    model.build_vocab(sentences)
    return lambda: model.train(sentences, total_examples=len(sentences), epochs=1)
