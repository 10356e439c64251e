"""Handwritten digits: the source's recipe, filters and contexts that vote, and their peers.

Every learner gets the same pictures. Settings are chosen on pictures held out of training; a
learner that is scored on the test learns from those, too, and is scored once.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from safetensors import numpy as safetensors

from plasticity.companion import datasets as data
from plasticity.companion import metrics, results
from plasticity.companion.configuration import (
    ExperimentConfig,
    Runtime,
    check_choice,
    check_range,
    setting,
)
from plasticity.substrate.domains.images.encoder import WHITE, ImageEncoder, Jitter
from plasticity.substrate.domains.images.filters import Bank, sample_patches
from plasticity.substrate.domains.images.levels import LevelRecogniser
from plasticity.substrate.fast_images import verify_recogniser
from plasticity.substrate.fast_levels import active_levels, fit_levels, scores_of, verify_levels
from plasticity.substrate.image_classifier import JITTER, ImageClassifier

__all__ = ["Config", "datasets", "run", "trained"]

FILTERS, LEVELS = "filters", "levels"
PEERS = ("svm", "neighbours", "perceptron")
CURVES = ("images", "epochs", "filters")
SOURCE_ACCURACY = 88.3  # percent, neuron-graph's README
COMPARED_BY_SOURCE = 200  # digits of which it compares both ways to predict
THOUSAND = 1000
ALIGNED = 10_000  # digits whose patches filters are compared on with principal components
MODEL = "model.safetensors"


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """What learns, from how many digits, and what it is scored on."""

    learner: str = setting(FILTERS, "filters, levels, or a peer: " + ", ".join(PEERS))
    scored: str = setting("validation", "validation, or test: then it learns from both others")
    images: int = setting(0, "digits to learn from, drawn at random; 0 for all")
    by: str = setting("", "images, epochs or filters: measure a curve along it")
    points: tuple[int, ...] = setting((), "values of `by`; a learner is trained for each")
    epochs: int = setting(8, "times that each digit is learnt")
    threads: int = setting(1, "threads")
    compared: int = setting(COMPARED_BY_SOURCE, "digits that are also spread through the graph")
    rule: str = setting("adam", "levels only: adam or delta")
    sizes: tuple[int, ...] = setting((7, 5), "filters only: rows of a filter, for each bank")
    filters: int = setting(8, "filters in a bank, 1 to 8")
    blocks: tuple[int, ...] = setting((6, 6), "rows of blocks, for each bank")
    reach: float = setting(1.0, "from the middle of a block to its end, in blocks")
    upright: bool = setting(True, "centre digits and undo their lean")
    jitter: float = setting(1.0, "how far digits are moved at random, in multiples of the usual")
    patches: int = setting(100_000, "that filters are learnt from; 0 leaves them random")
    learning_rate: float = setting(3.0, "share of an error that is taken back at first")
    clip: float = setting(0.7, "largest vote once votes are whole, as a share")
    bits: int = setting(8, "of a whole vote")

    def __post_init__(self):
        """Check ranges."""
        super().__post_init__()
        check_choice("learner", self.learner, (FILTERS, LEVELS, *PEERS))
        check_choice("scored", self.scored, ("validation", "test"))
        check_choice("by", self.by, ("", *CURVES))
        check_choice("rule", self.rule, ("adam", "delta"))
        check_range("images", self.images, 0, 10**9)
        check_range("epochs", self.epochs, 1, 1000)
        check_range("threads", self.threads, 1, 64)
        check_range("compared", self.compared, 0, 10**9)
        check_range("number of banks", len(self.sizes), 1, 10)
        check_range("number of blocks", len(self.blocks), len(self.sizes), len(self.sizes))
        check_range("jitter", self.jitter, 0, 5)
        check_range("bits", self.bits, 2, 8)
        check_range("patches", self.patches, 0, 10**8)
        check_range("number of points", len(self.points), bool(self.by), 100 * bool(self.by))
        assert self.banks  # made only if sizes, filters, blocks and reach are allowed

    @property
    def banks(self) -> tuple[Bank, ...]:
        """The banks of filters."""
        pairs = zip(self.sizes, self.blocks, strict=True)
        return tuple(Bank(size, self.filters, blocks, self.reach) for size, blocks in pairs)


def datasets(config: Config) -> tuple[str, ...]:
    """Return the datasets that a run reads."""
    return ("mnist",)


@lru_cache(maxsize=3)
def digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the digits of a split, uint8, shape (digits, 28, 28), and their labels, uint8."""
    rows = data.load("mnist")[split][:]
    return rows["image"], rows["label"]


def to_learn(config: Config, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what a learner learns from: never what it is scored on."""
    splits = ("train",) if config.scored == "validation" else ("train", "validation")
    images, labels = (np.concatenate(part) for part in zip(*map(digits, splits), strict=True))
    if not config.images:
        return images, labels
    chosen = np.random.default_rng(seed).permutation(len(images))[: config.images]
    return images[chosen], labels[chosen]


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Train a learner and score it, or one for every point of a curve.

    Parameters
    ----------
    config : Config
    seed : int
        Of everything drawn at random.
    folder : Path
        Keeps the filters and votes of a learner that is scored on the test.
    runtime : Runtime
        Not used: the number of threads is a setting.

    Returns
    -------
    pandas.DataFrame
        Columns step, split, metric, value, unit. Split ``test`` or ``validation`` has accuracy,
        ``train`` seconds and cores used, ``packed`` and ``graph`` kilobytes; of a curve, all stand
        in ``by images`` and so on, with the point as step. ``mistakes`` has the answer to each
        digit of the test that was got wrong, with its place as step; ``confusion, true I`` what
        digits I were taken for.
    """
    rows = list(_curve(config, seed) if config.by else _measured(config, seed, folder))
    frame = pd.DataFrame(rows, columns=["step", "split", "metric", "value"])
    return frame.assign(unit=[metrics.metric(name).unit for name in frame["metric"]])


def _curve(config: Config, seed: int) -> Iterator[tuple]:
    for point in config.points:
        at_point = replace(config, by="", points=(), **{config.by: point})
        fitted, seconds, _ = _fit(at_point, seed)
        right = percent_right(fitted.predict(digits(config.scored)[0]), config.scored)
        yield point, f"by {config.by}", "accuracy", right
        yield point, f"by {config.by}", "seconds", seconds
        yield point, f"by {config.by}", "kilobytes", fitted.bytes / THOUSAND


def _measured(config: Config, seed: int, folder: Path) -> Iterator[tuple]:
    images, labels = digits(config.scored)
    fitted, seconds, cores = _fit(config, seed)
    started = time.perf_counter()
    answers = fitted.predict(images)
    yield 0, "train", "seconds", seconds
    yield 0, "train", "cores_used", cores
    yield 0, "train", "load_average", os.getloadavg()[0]
    yield 0, config.scored, "seconds", time.perf_counter() - started
    accuracy = percent_right(answers, config.scored)
    yield 0, config.scored, "accuracy", accuracy
    yield 0, "packed", "kilobytes", fitted.bytes / THOUSAND
    yield from fitted.rows(config, folder)
    if config.scored == "test" and config.learner in (FILTERS, LEVELS):
        yield 0, "test", "accuracy_exceeds_source", float(accuracy > SOURCE_ACCURACY)
        for place in np.flatnonzero(answers != labels):
            yield int(place), "mistakes", "answered_class", float(answers[place])
        for label in np.unique(labels):
            given = np.bincount(answers[labels == label], minlength=len(np.unique(labels)))
            for answer, share in enumerate(100 * given / given.sum()):
                yield answer, f"confusion, true {label}", "answer_share", share


def percent_right(answers: np.ndarray, split: str) -> float:
    """Return the percentage of a split's digits that are answered right."""
    return 100 * float(np.mean(answers == digits(split)[1]))


def _fit(config: Config, seed: int) -> tuple["_Filters | _Levels | _Peer", float, float]:
    """Return a trained learner, the seconds that took, and the cores that it kept busy."""
    images, labels = to_learn(config, seed)
    kinds = {FILTERS: _Filters, LEVELS: _Levels}
    started, worked = time.perf_counter(), time.process_time()
    fitted = kinds.get(config.learner, _Peer)(config, seed, images, labels)
    seconds = time.perf_counter() - started
    return fitted, seconds, (time.process_time() - worked) / seconds


def classifier(config: Config, seed: int) -> ImageClassifier:
    """Return an untrained classifier of a config's settings."""
    usual = vars(JITTER)
    return ImageClassifier(
        config.banks,
        ImageEncoder(upright=config.upright),
        Jitter(**{name: config.jitter * value for name, value in usual.items()}),
        config.epochs,
        config.learning_rate,
        config.clip,
        config.bits,
        config.patches,
        random_state=seed,
        n_jobs=config.threads,
    )


def trained(config: Config, seed: int) -> ImageClassifier:
    """Return the classifier that a run has left behind, or else train it again."""
    path = results.checkpoint_folder("substrate_mnist", config, seed) / MODEL
    model = classifier(config, seed)
    if path.exists():
        return model.restore(safetensors.load_file(path), np.arange(10))
    return model.fit(*to_learn(config, seed))


class _Filters:
    """Filters, contexts and whole votes."""

    def __init__(self, config: Config, seed: int, images: np.ndarray, labels: np.ndarray):
        self.model = classifier(config, seed).fit(images, labels)
        self.predict = self.model.predict
        self.packed = safetensors.save(self.model.packed())
        self.bytes = len(self.packed)

    def rows(self, config: Config, folder: Path) -> Iterator[tuple]:
        """Yield what only this learner has, and leave it behind if it was scored on the test."""
        images, labels = digits(config.scored)
        model, graph = self.model, self.model.graph_
        yield 0, "graph", "kilobytes", graph.brain.bytes / THOUSAND
        yield from _alignments(model, digits("train")[0][:ALIGNED])
        exact = model.unrounded(images).argmax(axis=1)
        yield 0, f"{config.scored}, unrounded", "accuracy", 100 * float(np.mean(exact == labels))
        grids = model.encoder.grids(images[: config.compared])
        if len(grids):
            same = verify_recogniser(graph, grids)
            yield 0, config.scored, "compared_digits", len(grids)
            yield 0, config.scored, "agreeing_digits", same
        if config.scored == "test":
            folder.mkdir(parents=True, exist_ok=True)
            (folder / MODEL).write_bytes(self.packed)


def _alignments(model: ImageClassifier, images: np.ndarray) -> Iterator[tuple]:
    """Yield the cosine of each filter with the principal component of its rank, sign left out."""
    drawn = model.encoder(images)
    for bank, filters in zip(model.banks, model.graph_.filters, strict=True):
        patches = sample_patches(drawn, bank.size, 10 * len(images), model.random_state)
        components = np.linalg.eigh(patches.T @ patches)[1][:, ::-1]
        for rank, own in enumerate(filters.reshape(bank.filters, -1)):
            cosine = abs(own @ components[:, rank]) / np.linalg.norm(own)
            yield rank, f"filters {bank.size} x {bank.size}", "alignment", cosine


class _Levels:
    """The source's recipe."""

    def __init__(self, config: Config, seed: int, images: np.ndarray, labels: np.ndarray):
        names = [str(label) for label in np.unique(labels)]
        self.graph = LevelRecogniser(names, rule=config.rule, seed=seed)
        active = active_levels(self.graph, self.graph.encoder(images))
        fit_levels(self.graph, active, labels, config.epochs, seed=seed)
        self.bytes = self.graph.brain.bytes

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return the class of each digit."""
        active = active_levels(self.graph, self.graph.encoder(images))
        return scores_of(self.graph, active).argmax(axis=1)

    def rows(self, config: Config, folder: Path) -> Iterator[tuple]:
        """Yield on how many digits spread and table agree, of as many as the source compared."""
        grids = self.graph.encoder(digits(config.scored)[0][:COMPARED_BY_SOURCE])
        agreeing = verify_levels(self.graph, grids)
        yield 0, config.scored, "agreement_of_two_hundred", agreeing


class _Peer:
    """A learner of another library, at its usual settings and a bounded cost."""

    def __init__(self, config: Config, seed: int, images: np.ndarray, labels: np.ndarray):
        make = {
            "svm": _svm,
            "neighbours": _neighbours,
            "perceptron": _perceptron,
        }[config.learner]
        self.predict, self.bytes = make(config, seed, images, labels)

    def rows(self, config: Config, folder: Path) -> Iterator[tuple]:
        """Yield nothing more."""
        yield from ()


def _flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1).astype(np.float32) / WHITE


def _svm(config, seed, images, labels):
    from sklearn.svm import LinearSVC

    model = LinearSVC(C=0.05, dual=False, tol=1e-3, random_state=seed).fit(_flat(images), labels)
    return lambda more: model.predict(_flat(more)), model.coef_.nbytes + model.intercept_.nbytes


def _neighbours(config, seed, images, labels):
    from sklearn.neighbors import KNeighborsClassifier

    model = KNeighborsClassifier(3, algorithm="brute").fit(_flat(images), labels)
    return lambda more: model.predict(_flat(more)), images.nbytes


def _perceptron(config, seed, images, labels):
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    model = MLPClassifier((256,), max_iter=config.epochs, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the cost is bounded by epochs
        model.fit(_flat(images), labels)
    size = sum(part.nbytes for part in (*model.coefs_, *model.intercepts_))
    return lambda more: model.predict(_flat(more)), size


def reasons(model: ImageClassifier, place: int) -> dict:
    """Return where a digit of the test speaks for its answer, and against the runner-up.

    Parameters
    ----------
    model : ImageClassifier
        Trained.
    place : int
        Of the digit in the test.

    Returns
    -------
    dict
        ``grid``, the digit as the filters see it; ``label``, ``answer`` and ``rival``; and
        ``evidence``, shape (side, side): the votes of all contexts for the answer minus those for
        the runner-up, each shared out over the cells in the middle of its block. It adds up to the
        difference of their scores.
    """
    images, labels = digits("test")
    image, graph = images[place], model.graph_
    rival, answer = np.argsort(model.decision_function(image[None])[0], kind="stable")[-2:]
    side = graph.encoder.side
    evidence = np.zeros((side, side))
    for label, sign in ((answer, 1), (rival, -1)):
        for vote, bank, row, column, _ in graph.explain(image, int(label), k=0):
            edges = np.linspace(0, side, bank.blocks + 1).astype(int)
            cells = evidence[edges[row] : edges[row + 1], edges[column] : edges[column + 1]]
            cells += sign * vote / cells.size
    grid, label = model.encoder(image[None])[0], int(labels[place])
    found = {"label": label, "answer": int(answer), "rival": int(rival)}
    return {"grid": grid, "evidence": evidence, **found}
