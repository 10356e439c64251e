"""Motions named by the graph: four, then directions and speeds, then digits over moving clouds.

Every reader sees the same films: the graph, logistic regression on the graph's own input, and phase
correlation. Numbers of frames and sizes of the test are none of those of training.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
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
from plasticity.experiments.substrate_audio import Regression, fit_regression
from plasticity.substrate.domains.recognition import Panel, Recogniser, choose
from plasticity.substrate.domains.video import (
    FrameEncoder,
    MotionEncoder,
    film,
    noisy,
    shape,
    texture,
    velocity,
)

__all__ = ["Config", "Film", "Task", "datasets", "run"]

CLEAN = float("inf")
NOISY = 0.0  # decibels: film and noise are equally strong
TRAIN_SNR = (-10.0, 20.0)  # decibels, drawn evenly
LOWEST_SNR = -20.0  # where mistakes are counted out
Size = tuple[int, int]  # height and width
FRAMES = {"train": (8, 12, 16), "validation": (10, 14), "test": (6, 9, 20, 24)}
SIZES: dict[str, tuple[Size, ...]] = {
    "train": ((32, 32), (32, 48), (48, 32)),
    "validation": ((40, 40), (36, 54)),
    "test": ((28, 28), (24, 40), (60, 40), (64, 64)),
}
SNRS = (-30, -25, -20, -15, -10, -5, 0, 10, 20)  # decibels
FRAME_CURVE = (2, 3, 4, 6, 8, 12, 24, 48)
SIZE_CURVE = (8, 12, 16, 24, 48, 96)  # pixels, square
DRIFT_CURVE = (0, 5, 10, 15, 20, 30)  # percent of the shorter side
LAGS = (0.0, 0.25, 0.5)  # of the film, between frames that phase correlation compares
JITTER = (0.1, 8.0)  # how far speeds (as a share) and directions (degrees) stray
PICTURES = 2000  # digits of each split that are drawn from, at most


@dataclass(frozen=True)
class Task:
    """What is seen and told apart.

    Parameters
    ----------
    directions : int
        Evenly spaced, from right, counter-clockwise.
    speeds : tuple of float
        In shorter sides a film.
    encoder : FrameEncoder or MotionEncoder
    centred : bool
        Paths pass near the middle; otherwise anywhere.
    digits : bool
        Handwritten digits over a drifting cloudy ground as strong as they are; otherwise plain
        shapes over black.
    """

    directions: int
    speeds: tuple[float, ...]
    encoder: FrameEncoder | MotionEncoder
    centred: bool = False
    digits: bool = False

    @property
    def motions(self) -> list[tuple[float, float]]:
        """Direction in degrees and speed of each class."""
        angles = np.arange(self.directions) * 360 / self.directions
        return [(float(angle), speed) for speed in self.speeds for angle in angles]

    @property
    def classes(self) -> list[str]:
        """Names of the classes."""
        return [f"{angle:.0f}° at {speed:g}" for angle, speed in self.motions]


SPEEDS = (0.15, 0.3, 0.6)
TASKS = {
    "four_motions": Task(4, (0.6,), FrameEncoder(), centred=True),
    "motions": Task(8, SPEEDS, MotionEncoder()),
    "motions_grid": Task(8, SPEEDS, FrameEncoder()),
    "digits": Task(8, SPEEDS, MotionEncoder(), digits=True),
}
MOST_DRIFT = 0.1  # of the ground under digits, in shorter sides a film


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """Which films, how many, and what the graph may choose from."""

    task: str = setting("motions", "four_motions, motions, motions_grid or digits")
    winners: tuple[int, ...] = setting((4, 8, 16), "cells that may emit: chosen by validation")
    epochs: int = setting(5, "times that each film is learnt")
    train_examples: int = setting(16, "films of each class to learn from")
    validation_examples: int = setting(4, "films of each class to choose settings by")
    test_examples: int = setting(10, "films of each class in the test, clean and noisy each")
    curve_examples: int = setting(2, "films of each class at each point of a curve")

    def __post_init__(self):
        """Check ranges."""
        super().__post_init__()
        check_choice("task", self.task, TASKS)
        for name in ("epochs", "train_examples", "validation_examples", "test_examples"):
            check_range(name, getattr(self, name), 1, 10_000)
        check_range("curve_examples", self.curve_examples, 1, 10_000)
        check_range("number of winners", len(self.winners), 1, 100)
        check_range("fewest winners", min(self.winners), 1, 10_000)


@dataclass(frozen=True, eq=False)
class Film:
    """A film and what it shows."""

    clip: np.ndarray
    label: int


def datasets(config: Config) -> tuple[str, ...]:
    """Return the datasets that a run reads: digits come from MNIST, all else is made here."""
    return ("mnist",) if TASKS[config.task].digits else ()


@lru_cache(maxsize=3)
def pictures(split: str) -> np.ndarray:
    """Return digits of a split of MNIST, float32 from 0 to 1, shape (pictures, 28, 28)."""
    return data.load("mnist")[split][:PICTURES]["image"].astype(np.float32) / 255


def films(
    task: Task,
    random: np.random.Generator,
    examples: int,
    frames: Iterable[int],
    sizes: Iterable[Size],
    snr: float | tuple[float, float],
    split: str,
    drift: float | tuple[float, float] = (0.0, MOST_DRIFT),
) -> Iterator[Film]:
    """Make films of every class in turn.

    Parameters
    ----------
    task : Task
    random : Generator
        Draws everything that is left open.
    examples : int
        Of each class.
    frames, sizes : iterable
        To draw from; sizes are heights and widths in pixels.
    snr : float or tuple of two floats
        In decibels; of two, anything between.
    split : {'train', 'validation', 'test'}
        Whose digits are shown.
    drift : float or tuple of two floats
        Of the ground under digits, in shorter sides a film, likewise.

    Yields
    ------
    Film
    """
    frames, sizes = list(frames), list(sizes)
    for label in np.tile(np.arange(len(task.motions)), examples):
        angle, speed = task.motions[label]
        angle += random.uniform(-1, 1) * JITTER[1]
        speed *= 1 + random.uniform(-1, 1) * JITTER[0]
        whole = (int(random.choice(frames)), *sizes[random.integers(len(sizes))])
        shown = random.choice(pictures(split)) if task.digits else shape(random)
        side = random.uniform(0.22, 0.32)
        clip = film(shown, whole, velocity(angle, speed), random, side, task.centred)
        if task.digits:
            moved = random.uniform(*drift) if isinstance(drift, tuple) else drift
            ground = texture(whole, velocity(random.uniform(0, 360), moved), random)
            clip += clip.std() * ground
        decibels = random.uniform(*snr) if isinstance(snr, tuple) else snr
        yield Film(noisy(clip, decibels, random), int(label))


def _drawn(config: Config, seed: int, split: str) -> Iterator[Film]:
    """Return the films for training or validation, the same ones each time."""
    examples = {"train": config.train_examples, "validation": config.validation_examples}
    return films(
        TASKS[config.task],
        np.random.default_rng([seed, list(examples).index(split)]),
        examples[split],
        FRAMES[split],
        SIZES[split],
        TRAIN_SNR,
        split,
    )


def learnt(config: Config, seed: int) -> tuple[Recogniser, dict[int, float], Regression]:
    """Return the graph of a config, what its candidates validated at, and its control.

    Returns
    -------
    Recogniser
    dict of int to float
        Validation accuracy in percent by number of winners.
    Regression
        Logistic regression on the same grids.
    """
    task = TASKS[config.task]

    def encoded(split: str) -> tuple[np.ndarray, np.ndarray]:
        made = [(task.encoder(one.clip), one.label) for one in _drawn(config, seed, split)]
        grids, labels = zip(*made, strict=True)
        return np.stack(grids), np.array(labels)

    train, validation = encoded("train"), encoded("validation")
    graph, validated = choose(
        config.winners, train, validation, task.classes, config.epochs, seed=seed
    )
    return graph, validated, fit_regression(train, validation)


def pathway(config: Config, snr: float, seed: int = 0) -> dict:
    """Return one film of the test on its way through a graph that is trained for it.

    Returns
    -------
    dict
        ``clip``, ``label``, ``grid``, ``winners`` (indexes of the cells that emitted) and
        ``scores`` of the classes.
    """
    task, (graph, *_) = TASKS[config.task], learnt(config, seed)
    random = np.random.default_rng(seed)
    made = list(films(task, random, 1, FRAMES["test"][-1:], SIZES["test"][-1:], snr, "test"))
    seen = made[2 * len(task.classes) // 5]
    grid = task.encoder(seen.clip)
    emission = graph.spread(grid)
    winners = emission.cycles[1].sources - graph.cells[0]
    return {**vars(seen), "grid": grid, "winners": winners, "scores": graph.scores(emission)}


def correlation_reader(task: Task, lag: float, whitened: bool) -> Callable[[Film], int]:
    """Return a classical reader of motion: where the correlation of frames peaks.

    Parameters
    ----------
    task : Task
    lag : float
        Share of the film between the frames that are compared; at least one frame.
    whitened : bool
        Phase correlation (Kuglin and Hines, 1975); otherwise every wave counts by its energy.
    """
    known = np.array([velocity(angle, speed) for angle, speed in task.motions])
    most = 1.3 * max(task.speeds)

    def read(seen: Film) -> int:
        frames, height, width = seen.clip.shape
        apart = max(1, round(lag * (frames - 1)))
        spectra = np.fft.rfft2(seen.clip - seen.clip.mean(axis=0))
        cross = np.sum(np.conj(spectra[:-apart]) * spectra[apart:], axis=0)
        cross = cross / np.maximum(np.abs(cross), 1e-12) if whitened else cross
        surface = np.fft.irfft2(cross, (height, width))
        down, right = (np.fft.fftfreq(side) * side for side in (height, width))
        reach = most * min(height, width) * apart / (frames - 1)
        surface[np.hypot(down[:, None], right[None, :]) > max(1.5, reach)] = -np.inf
        row, column = np.unravel_index(surface.argmax(), surface.shape)
        peak = np.array([down[row], right[column]])
        peak += _beside_the_peak(surface, row, column)
        found = peak * (frames - 1) / apart / min(height, width)
        away = np.linalg.norm(found - known, axis=1) / np.linalg.norm(known, axis=1)
        return int(away.argmin())

    return read


def _beside_the_peak(surface: np.ndarray, row: int, column: int) -> list[float]:
    """Return how far the top of parabolas through a peak and its neighbours lies beside it."""
    height, width = surface.shape
    lines = (
        surface[[row - 1, row, (row + 1) % height], column],
        surface[row, [column - 1, column, (column + 1) % width]],
    )
    found = []
    for before, at, after in lines:
        bend = before - 2 * at + after
        found.append(float((before - after) / (2 * bend)) if np.isfinite(bend) and bend else 0.0)
    return found


def correlation_readers(config: Config, seed: int) -> dict[str, Callable[[Film], int]]:
    """Return the classical reader by its metric, with what names most films for validation."""
    task, made = TASKS[config.task], list(_drawn(config, seed, "validation"))
    candidates = [correlation_reader(task, lag, white) for lag in LAGS for white in (True, False)]
    right = [sum(read(seen) == seen.label for seen in made) for read in candidates]
    return {"phase_correlation_accuracy": candidates[int(np.argmax(right))]}


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Learn the motions of a task and name others.

    Parameters
    ----------
    config : Config
    seed : int
        Draws the films and the order in which they are learnt.
    folder : Path
        Nothing is written into it.
    runtime : Runtime
        Not used.

    Returns
    -------
    pandas.DataFrame
        Columns step, split, metric, value, unit. Split ``test`` is without noise, ``test, 0 dB``
        with it; ``by snr``, ``by frames``, ``by size`` and, for digits, ``by drift`` have decibels,
        frames, pixels of a side and percent of it as steps, and the last three 0 dB of noise.
        ``confusion, true I`` tells what class I was taken for at -20 dB.

    Raises
    ------
    plasticity.companion.datasets.DatasetUnavailable
        For digits, where MNIST is not reachable.
    """
    task = TASKS[config.task]
    started = time.perf_counter()
    graph, validated, regression = learnt(config, seed)
    rows = [
        (0, "train", "seconds", time.perf_counter() - started),
        (0, "test", "bytes", graph.brain.bytes),
        (0, "test", "winners", max(validated, key=validated.get)),
    ]
    rows += [(winners, "validation", "accuracy", value) for winners, value in validated.items()]
    usual = {"frames": FRAMES["test"], "sizes": SIZES["test"], "snr": NOISY, "split": "test"}
    panel = Panel(
        lambda random, examples, **changes: films(task, random, examples, **{**usual, **changes}),
        lambda seen: task.encoder(seen.clip),
        {"accuracy": graph.predict, "regression_accuracy": regression.predict},
        correlation_readers(config, seed),
        seed,
    )
    rows += list(_test_rows(config, panel))
    rows += list(panel.confusion(len(task.classes), config.test_examples, snr=LOWEST_SNR))
    frame = pd.DataFrame(rows, columns=["step", "split", "metric", "value"])
    return frame.assign(unit=[metrics.metric(name).unit for name in frame["metric"]])


def _test_rows(config: Config, panel: Panel) -> Iterator[tuple]:
    yield from panel.rows(0, "test", config.test_examples, snr=CLEAN)
    yield from panel.rows(0, "test, 0 dB", config.test_examples)
    examples = config.curve_examples
    for snr in SNRS:
        yield from panel.rows(snr, "by snr", examples, snr=float(snr))
    for frames in FRAME_CURVE:
        yield from panel.rows(frames, "by frames", examples, frames=[frames])
    for side in SIZE_CURVE:
        yield from panel.rows(side, "by size", examples, sizes=[(side, side)])
    if TASKS[config.task].digits:
        for drift in DRIFT_CURVE:
            yield from panel.rows(drift, "by drift", examples, drift=drift / 100)
