"""Sounds named by the graph: tones, semitones, and notes of instruments that it has never heard.

Every reader hears the same sounds: the graph, logistic regression on the graph's own input, and the
classical ways to find a pitch. Rates and durations of the test are none of those of training.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import optimize, special

from plasticity.companion import metrics
from plasticity.companion.configuration import (
    ExperimentConfig,
    Runtime,
    check_choice,
    check_range,
    setting,
)
from plasticity.substrate.domains.audio import (
    PURE,
    AudioEncoder,
    Instrument,
    noisy,
    note,
    reverberated,
    semitone,
    spectral_peaks,
)
from plasticity.substrate.domains.recognition import Panel, Recogniser, choose, percent

__all__ = ["Config", "Sound", "Task", "datasets", "run"]

CLEAN = float("inf")
NOISY = 0.0  # decibels: sound and noise are equally strong
TRAIN_SNR = (-10.0, 20.0)  # decibels, drawn evenly
LOWEST_SNR = -20.0  # where mistakes are counted out
TRAIN_RATES, VALIDATION_RATES = (16_000, 22_050), (12_000, 24_000)
TEST_RATES = (8_000, 11_025, 32_000, 44_100, 48_000)
SNRS = (-30, -25, -20, -15, -10, -5, 0, 10, 20)  # decibels
PENALTIES = (1e-4, 1e-3, 1e-2)  # of squared weights in the regression, chosen by validation
HARMONICS = (2, 4, 8, 15)  # in the harmonic sum, chosen by validation
FADING = 0.84  # weight of each harmonic after the one before (Hermes, 1988)
CENTS = 20  # between the fundamentals that are tried
RATES = (8_000, 11_025, 16_000, 22_050, 44_100, 96_000)

KNOWN = {
    "bright": Instrument(slope=1.0),
    "mellow": Instrument(slope=2.0),
    "plucked": Instrument(slope=1.5, decay=3.0),
    "reedy": Instrument(slope=0.7, peak=2),
}
# Settings are chosen with instruments that are neither those learnt nor those of the test.
BETWEEN = {
    "brassy": Instrument(slope=1.0, peak=3),
    "without fundamental": Instrument(slope=1.5, first=2, decay=2.0),
}
UNKNOWN = {
    "even partials missing": Instrument(slope=0.8, odd=True),
    "weak fundamental": Instrument(slope=0.6, peak=5),
    "stretched partials": Instrument(slope=1.4, stiffness=1e-3, decay=4.0),
    "lowest two missing": Instrument(slope=1.0, first=3),
}
FOUR_TONES = (220.0, 440.0, 880.0, 1760.0)
SEMITONES = ("A", "A♯", "B", "C", "C♯", "D", "D♯", "E", "F", "F♯", "G", "G♯")


@dataclass(frozen=True)
class Task:
    """What is heard and told apart.

    Parameters
    ----------
    classes : tuple of str
    encoder : AudioEncoder
    durations : tuple of three tuples of float
        Seconds in training, validation and test.
    duration_curve : tuple of int
        Milliseconds.
    played : bool
        Notes of instruments in three octaves, out of tune, with vibrato, in a room, under pink
        noise; otherwise pure tones under white noise.
    """

    classes: tuple[str, ...]
    encoder: AudioEncoder
    durations: tuple[tuple[float, ...], ...] = ((0.25, 0.5), (0.2, 0.4), (0.1, 0.15, 0.3, 0.7, 1.0))
    duration_curve: tuple[int, ...] = (5, 10, 20, 30, 50, 100, 200, 1000)
    played: bool = False

    def frequency(self, label: int) -> float:
        """Return the frequency in hertz that a class stands for."""
        return FOUR_TONES[label] if len(self.classes) == len(FOUR_TONES) else semitone(label)


GRID = AudioEncoder(low=100, high=2100, bands=8, frames=6, logarithmic=False)
QUARTER = 2 ** (1 / 24)  # half a band: semitones lie in the middle of theirs
TASKS = {
    "four_tones": Task(
        tuple(f"{tone:.0f} Hz" for tone in FOUR_TONES),
        GRID,
    ),
    "twelve_tones": Task(
        SEMITONES,
        AudioEncoder(low=semitone(-6) / QUARTER, high=semitone(18) / QUARTER, bands=24),
    ),
    "twelve_tones_grid": Task(SEMITONES, GRID),
    "instruments": Task(
        SEMITONES,
        AudioEncoder(low=semitone(-24) / QUARTER, high=semitone(36) / QUARTER, bands=60),
        durations=((0.4, 0.6), (0.3, 0.5), (0.25, 0.35, 0.7)),
        duration_curve=(30, 50, 100, 200, 500, 1000),
        played=True,
    ),
}


@dataclass(frozen=True)
class Config(ExperimentConfig):
    """Which sounds, how many, and what the graph may choose from."""

    task: str = setting(
        "twelve_tones", "four_tones, twelve_tones, twelve_tones_grid or instruments"
    )
    winners: tuple[int, ...] = setting((4, 8, 16), "cells that may emit: chosen by validation")
    epochs: int = setting(4, "times that each sound is learnt")
    train_examples: int = setting(20, "sounds of each class to learn from")
    validation_examples: int = setting(8, "sounds of each class to choose settings by")
    test_examples: int = setting(20, "sounds of each class in the test, clean and noisy each")
    curve_examples: int = setting(4, "sounds of each class at each point of a curve")

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
class Sound:
    """A sound and what it is."""

    signal: np.ndarray
    rate: int
    label: int


def datasets(config: Config) -> tuple[str, ...]:
    """Return no names: every sound is made here."""
    return ()


def sounds(
    task: Task,
    random: np.random.Generator,
    examples: int,
    rates: Iterable[int],
    durations: Iterable[float],
    snr: float | tuple[float, float],
    instruments: Iterable[Instrument] = (PURE,),
) -> Iterator[Sound]:
    """Make sounds of every class in turn.

    Parameters
    ----------
    task : Task
    random : Generator
        Draws everything that is left open.
    examples : int
        Of each class.
    rates, durations, instruments : iterable
        To draw from.
    snr : float or tuple of two floats
        In decibels; of two, anything between.

    Yields
    ------
    Sound
    """
    rates, durations, instruments = list(rates), list(durations), list(instruments)
    for label in np.tile(np.arange(len(task.classes)), examples):
        rate, duration = int(random.choice(rates)), float(random.choice(durations))
        decibels = random.uniform(*snr) if isinstance(snr, tuple) else snr
        frequency = task.frequency(label)
        if task.played:
            octave, detuning = random.integers(-2, 1), random.uniform(-0.25, 0.25)
            frequency *= 2.0 ** (octave + detuning / 12)
            instrument = instruments[random.integers(len(instruments))]
            vibrato = random.uniform(0, 0.3)
            signal = note(frequency, duration, rate, random, instrument, vibrato)
            signal = reverberated(signal, rate, random.uniform(0.2, 0.6), random)
        else:
            signal = note(frequency, duration, rate, random)
        yield Sound(noisy(signal, decibels, random, pink=task.played), rate, int(label))


def encoded(task: Task, made: Iterable[Sound]) -> tuple[np.ndarray, np.ndarray]:
    """Return the grids of sounds, shape (sounds, frames, bands), and their labels."""
    grids, labels = [], []
    for sound in made:
        grids.append(task.encoder(sound.signal, sound.rate))
        labels.append(sound.label)
    return np.stack(grids), np.array(labels)


class Regression:
    """Multinomial logistic regression: the control for what learning locally costs.

    Parameters
    ----------
    weights : ndarray of float64, shape (inputs + 1, classes)
        The last row is the bias.
    """

    def __init__(self, weights: np.ndarray):
        self.weights = weights

    def predict(self, grid: np.ndarray) -> int:
        """Return the class of a grid."""
        return int(np.argmax(grid.ravel() @ self.weights[:-1] + self.weights[-1]))


def fit_regression(
    train: tuple[np.ndarray, np.ndarray], validation: tuple[np.ndarray, np.ndarray]
) -> Regression:
    """Fit a regression by L-BFGS with each penalty and return the one that validates best.

    Parameters
    ----------
    train, validation : tuple of (ndarray, ndarray)
        Grids, shape (examples, ...), and labels, shape (examples,).
    """
    grids, labels = train
    inputs = np.pad(grids.reshape(len(grids), -1), ((0, 0), (0, 1)), constant_values=1.0)
    inputs = inputs.astype(float)
    targets = np.eye(labels.max() + 1)[labels]

    def loss(flat: np.ndarray, penalty: float) -> tuple[float, np.ndarray]:
        weights = flat.reshape(inputs.shape[1], -1)
        logs = special.log_softmax(inputs @ weights, axis=1)
        slope = inputs.T @ (np.exp(logs) - targets) / len(inputs) + penalty * weights
        value = -np.sum(logs * targets) / len(inputs) + penalty / 2 * np.sum(weights**2)
        return value, slope.ravel()

    found = []
    for penalty in PENALTIES:
        start = np.zeros(inputs.shape[1] * targets.shape[1])
        best = optimize.minimize(loss, start, (penalty,), "L-BFGS-B", jac=True).x
        found.append(Regression(best.reshape(inputs.shape[1], -1)))
    return max(found, key=lambda one: sum(map(one.predict, validation[0]) == validation[1]))


def spectral_reader(task: Task, harmonics: int, whitened: bool) -> Callable[[Sound], int]:
    """Return a classical reader of pitch: the highest peak of the spectrum or of a harmonic sum.

    Parameters
    ----------
    task : Task
    harmonics : int
        Amplitudes that are added up, each weighing less than the one before; 1 for the bare peak.
    whitened : bool
        Weigh power by frequency, which levels pink noise.
    """
    ear = task.encoder
    top = ear.high if harmonics == 1 else semitone(len(SEMITONES))
    step = CENTS / 1200  # octaves; a harmonic lies a fixed number of steps above its fundamental
    count = int(np.log2(top / ear.low) / step)
    above = np.rint(np.log2(np.arange(1, harmonics + 1)) / step).astype(int)
    edges = ear.low * 2.0 ** (step * np.arange(count + above[-1] + 1))
    tilt = np.sqrt(edges[:-1]) if whitened else np.ones(len(edges) - 1)
    classes = [task.frequency(label) for label in range(len(task.classes))]
    octaves = np.log2(np.sqrt(edges[:count] * edges[1 : count + 1])[:, None] / classes)
    octaves = octaves - np.rint(octaves) if task.played else octaves
    nearest = np.abs(octaves).argmin(axis=1)

    def read(sound: Sound) -> int:
        amplitude = tilt * np.sqrt(spectral_peaks(sound.signal[None], sound.rate, edges)[0])
        parts = [FADING**i * amplitude[start : start + count] for i, start in enumerate(above)]
        return int(nearest[np.sum(parts, axis=0).argmax()])

    return read


def spectral_readers(config: Config, seed: int) -> dict[str, Callable[[Sound], int]]:
    """Return the classical readers by the metric that they are scored under.

    The highest peak of the spectrum, for all tasks; for instruments also the highest harmonic sum;
    each with the settings that name most of the sounds for validation.
    """
    task = TASKS[config.task]
    counts = {"peak_accuracy": (1,)}
    if task.played:
        counts["harmonic_accuracy"] = HARMONICS
    made = list(_drawn(config, seed, "validation"))
    found = {}
    for metric, numbers in counts.items():
        candidates = [
            spectral_reader(task, number, whitened)
            for number in numbers
            for whitened in ((False, True) if task.played else (False,))
        ]
        right = [sum(read(sound) == sound.label for sound in made) for read in candidates]
        found[metric] = candidates[int(np.argmax(right))]
    return found


def _drawn(config: Config, seed: int, split: str) -> Iterator[Sound]:
    """Return the sounds for training or validation, the same ones each time."""
    task = TASKS[config.task]
    place = ("train", "validation").index(split)
    return sounds(
        task,
        np.random.default_rng([seed, place]),
        (config.train_examples, config.validation_examples)[place],
        (TRAIN_RATES, VALIDATION_RATES)[place],
        task.durations[place],
        TRAIN_SNR,
        (KNOWN, BETWEEN)[place].values() if task.played else (PURE,),
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
    train, validation = (
        encoded(task, _drawn(config, seed, split)) for split in ("train", "validation")
    )
    graph, validated = choose(
        config.winners, train, validation, task.classes, config.epochs, seed=seed
    )
    return graph, validated, fit_regression(train, validation)


def run(config: Config, seed: int, folder: Path, runtime: Runtime) -> pd.DataFrame:
    """Learn the sounds of a task and name others.

    Parameters
    ----------
    config : Config
    seed : int
        Draws the sounds and the order in which they are learnt.
    folder : Path
        Nothing is written into it.
    runtime : Runtime
        Not used.

    Returns
    -------
    pandas.DataFrame
        Columns step, split, metric, value, unit. Split ``test`` is without noise, ``test, 0 dB``
        with it; ``by snr``, ``by duration`` and ``by rate`` have decibels, milliseconds and hertz
        as steps, and the last two 0 dB of noise. ``interval, NAME`` counts by how many semitones an
        instrument was misheard, ``confusion, true I`` what class I was taken for at -20 dB.
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
    panel = Panel(
        _of_the_test(task),
        lambda sound: task.encoder(sound.signal, sound.rate),
        {"accuracy": graph.predict, "regression_accuracy": regression.predict},
        spectral_readers(config, seed),
        seed,
    )
    rows += list(_test_rows(config, panel))
    if task.played:
        rows += list(_instrument_rows(config, panel))
    else:
        rows += list(panel.confusion(len(task.classes), config.test_examples, snr=LOWEST_SNR))
    frame = pd.DataFrame(rows, columns=["step", "split", "metric", "value"])
    return frame.assign(unit=[metrics.metric(name).unit for name in frame["metric"]])


def pathway(config: Config, snr: float, seed: int = 0) -> dict:
    """Return one sound of the test on its way through a graph that is trained for it.

    Returns
    -------
    dict
        ``signal``, ``rate``, ``label``, ``edges`` of the bands, ``grid``, ``winners`` (indexes of
        the cells that emitted) and ``scores`` of the classes.
    """
    task, (graph, *_) = TASKS[config.task], learnt(config, seed)
    drawn = _of_the_test(task)(np.random.default_rng(seed), 1, snr=snr, durations=[0.5])
    sound = list(drawn)[len(task.classes) // 3]
    grid = task.encoder(sound.signal, sound.rate)
    emission = graph.spread(grid)
    winners = emission.cycles[1].sources - graph.cells[0]
    found = {"edges": task.encoder.edges, "grid": grid, "winners": winners}
    return {**vars(sound), **found, "scores": graph.scores(emission)}


def _of_the_test(task: Task) -> Callable[..., Iterator[Sound]]:
    """Return `sounds` of a task as the test draws them, at 0 dB; what is given again is changed."""
    usual = {
        "rates": TEST_RATES,
        "durations": task.durations[2],
        "snr": NOISY,
        "instruments": UNKNOWN.values() if task.played else (PURE,),
    }
    return lambda random, examples, **changes: sounds(
        task, random, examples, **{**usual, **changes}
    )


def _test_rows(config: Config, panel: Panel) -> Iterator[tuple]:
    yield from panel.rows(0, "test", config.test_examples, snr=CLEAN)
    yield from panel.rows(0, "test, 0 dB", config.test_examples)
    for snr in SNRS:
        yield from panel.rows(snr, "by snr", config.curve_examples, snr=float(snr))
    for duration in TASKS[config.task].duration_curve:
        seconds = duration / 1000
        yield from panel.rows(duration, "by duration", config.curve_examples, durations=[seconds])
    for rate in RATES:
        yield from panel.rows(rate, "by rate", config.curve_examples, rates=[rate])


def _instrument_rows(config: Config, panel: Panel) -> Iterator[tuple]:
    examples, count = config.test_examples, len(SEMITONES)
    yield from panel.rows(0, "known instruments, 0 dB", examples, instruments=KNOWN.values())
    for name, instrument in UNKNOWN.items():
        labels, answers = panel.answers(examples, instruments=[instrument])
        for metric, given in answers.items():
            yield 0, f"instrument, {name}", metric, percent(given == labels)
        given = answers["accuracy"]
        for interval in range(count):
            share = percent((given >= 0) & ((given - labels) % count == interval))
            yield interval, f"interval, {name}", "answer_share", share
