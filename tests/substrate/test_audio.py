"""Sounds, the ear, the recogniser behind it, and the chapter made of them."""

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot as plt

from plasticity.companion import claims, metrics, profiles, statistics
from plasticity.companion.configuration import Runtime
from plasticity.experiments import substrate_audio as experiment
from plasticity.findings import substrate_senses as findings
from plasticity.plots import substrate_senses as plots
from plasticity.substrate.domains.audio import (
    AudioEncoder,
    Instrument,
    noisy,
    note,
    reverberated,
    semitone,
    spectral_peaks,
)
from plasticity.substrate.domains.recognition import Panel, Recogniser, choose

CPU = Runtime(device="cpu", workers=1)
SEMITONES = experiment.TASKS["twelve_tones"].encoder
RATES, DURATIONS = st.integers(4_000, 96_000), st.floats(0.08, 0.6)
SEEDS = st.integers(0, 2**32 - 1)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# Sounds


@given(st.floats(20, 1_900), st.floats(0.02, 0.2), RATES, SEEDS)
@settings(max_examples=30, deadline=None)
def test_notes_have_power_one_and_the_length_asked_for(frequency, duration, rate, seed):
    instrument = Instrument(slope=1.0, stiffness=1e-3, decay=2.0)
    sound = note(frequency, duration, rate, generator(seed), instrument, vibrato=0.3)
    assert sound.shape == (round(duration * rate),)
    assert np.mean(sound**2) == pytest.approx(1)
    wet = reverberated(sound, rate, 0.3, generator(seed))
    assert wet.shape == sound.shape
    assert np.mean(wet**2) == pytest.approx(1)


@pytest.mark.parametrize(
    ("frequency", "duration", "message"),
    [
        (4_000, 0.1, r"frequency is 4000; allowed: above 0 and below 4000\.0, half the rate"),
        (0.0, 0.1, r"frequency is 0\.0; allowed"),
        (440, 1e-4, r"duration is 0\.0001, 1 samples at 8000 a second; allowed: 2 or more"),
    ],
)
def test_impossible_notes_are_named(frequency, duration, message):
    with pytest.raises(ValueError, match=message):
        note(frequency, duration, 8_000, generator())


def test_partials_of_instruments():
    stiff, amplitude = Instrument(stiffness=1e-2, slope=1.0).partials(10.0)
    assert stiff[0] == pytest.approx(np.sqrt(1.01))
    assert (np.diff(stiff) > 1).all() and stiff.max() <= 10
    np.testing.assert_allclose(amplitude, 1 / np.arange(1, len(stiff) + 1))
    assert Instrument(first=3).partials(5.0)[0].tolist() == [3, 4, 5]
    weak = Instrument(slope=0.0, peak=4).partials(5.0)[1]
    np.testing.assert_allclose(weak, [1 / 16, 1 / 4, 9 / 16, 1, 1])


@given(st.floats(-30, 30), st.booleans(), SEEDS)
@settings(max_examples=20, deadline=None)
def test_noise_is_as_strong_as_asked_for(snr, pink, seed):
    sound = note(440, 0.2, 8_000, generator(seed))
    noise = noisy(sound, snr, generator(seed), pink) - sound
    assert 10 * np.log10(np.mean(sound**2) / np.mean(noise**2)) == pytest.approx(snr)


def test_pink_noise_loses_three_decibels_an_octave():
    noise = noisy(np.full(2**16, 1e-6), -200, generator(), pink=True)
    power = np.abs(np.fft.rfft(noise)) ** 2
    octaves = [power[2**k : 2 ** (k + 1)].mean() for k in range(8, 15)]
    steps = 10 * np.diff(np.log10(octaves))
    assert steps.mean() == pytest.approx(-3.01, abs=0.3)
    assert noisy(noise, np.inf, generator()) is noise


# The ear


@given(st.integers(0, 11), RATES, DURATIONS, SEEDS)
@settings(max_examples=40, deadline=None)
def test_any_rate_and_duration_fill_the_same_grid(number, rate, duration, seed):
    sound = note(semitone(number), duration, rate, generator(seed))
    grid = SEMITONES(sound, rate)
    assert grid.shape == (1, 24) and grid.dtype == np.float32
    assert grid.min() >= 0 and grid.max() == 1
    assert grid.argmax() == number + 6  # half an octave below A4 is in it
    np.testing.assert_allclose(SEMITONES(1000 * sound, rate), grid, atol=1e-4)


def test_silence_and_bands_above_half_the_rate_stay_silent():
    assert not SEMITONES(np.zeros(500), 8_000).any()
    ear = AudioEncoder(low=100, high=8_000, bands=40, frames=3)
    powers = ear.powers(noisy(note(500, 0.2, 4_000, generator()), 0, generator()), 4_000)
    assert powers.shape == (3, 40)
    assert (powers[:, ear.edges[:-1] > 2_000] == 0).all()
    assert (powers[:, ear.edges[1:] < 2_000] > 0).all()


def test_spectral_peaks_are_those_of_a_plain_transform():
    sound = noisy(note(500, 0.1, 4_000, generator(1)), 0, generator(2))
    edges = np.array([100.0, 400.0, 700.0, 1_500.0])
    found = spectral_peaks(sound[None], 4_000, edges)[0]
    windowed = (sound - sound.mean()) * np.hanning(len(sound) + 2)[1:-1]
    frequencies = np.arange(257) * 4_000 / 512
    turns = np.exp(-2j * np.pi * frequencies[:, None] * np.arange(len(sound)) / 4_000)
    power = np.abs((turns * windowed).sum(axis=1)) ** 2
    for band, (low, high) in enumerate(itertools.pairwise(edges)):
        inside = (frequencies >= low) & (frequencies < high)
        assert found[band] == pytest.approx(power[inside].max())


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ({"low": 0.0}, r"low is 0\.0, high 3520\.0; allowed: 0 < low < high"),
        ({"bands": 1}, "bands is 1, frames 1; allowed: 2 and 1, or more"),
        ({"frames": 0}, "bands is 180, frames 0"),
    ],
)
def test_impossible_ears_are_named(settings_, message):
    with pytest.raises(ValueError, match=message):
        AudioEncoder(**settings_)


def test_too_short_a_sound_is_named():
    with pytest.raises(
        ValueError, match=r"signal has shape \(3,\) and the rate 8000; .* 6 samples"
    ):
        AudioEncoder(frames=3)(np.ones(3), 8_000)


# The recogniser


def test_only_winners_vote_and_only_votes_learn():
    recogniser = Recogniser(6, ["low", "high"], winners=2, pooled=2)
    brain = recogniser.brain
    fixed = brain.edges("hands on")
    grid = np.array([0.9, 0.1, 0.4, 0.1, 0.5, 0.0], np.float32)
    emission = recogniser.spread(grid)
    heard = emission.cycles[1]
    pooled = (grid[:3] + grid[3:]) / 2
    assert (heard.sources - recogniser.cells[0]).tolist() == [0, 1]
    np.testing.assert_allclose(heard.values, pooled[:2])
    recogniser.learn(grid, 1)
    np.testing.assert_array_equal(brain.edges("hands on"), fixed)
    votes = brain.edges("means")["weight"].reshape(3, 2)
    np.testing.assert_allclose(votes[:2], 0.5 * pooled[:2, None] * [[-0.5, 0.5]], rtol=1e-6)
    assert not votes[2].any()
    scores = recogniser.scores(recogniser.spread(grid))
    np.testing.assert_allclose(scores, (pooled[:2, None] * votes[:2]).sum(axis=0), rtol=1e-5)
    assert recogniser.predict(grid) == 1
    assert recogniser.predict(np.zeros(6)) == -1


@given(SEEDS)
@settings(max_examples=5, deadline=None)
def test_learning_is_decided_by_its_seed(seed):
    random = generator(seed)
    grids, labels = random.random((12, 2, 5), np.float32), random.integers(0, 3, 12)
    weights = []
    for _ in range(2):
        recogniser = Recogniser(10, "abc", winners=4, seed=seed)
        recogniser.fit(grids, labels, epochs=2, seed=seed)
        weights.append(recogniser.brain.edges("means")["weight"])
    np.testing.assert_array_equal(*weights)


def test_the_best_validated_number_of_winners_is_kept():
    grids = np.array([[0.6, 1, 0], [0.6, 0, 1]] * 8, np.float32)[:, [0, 1, 2]]
    grids[:, 0] = 1.5  # the strongest cell says nothing: one winner cannot do it
    labels = np.array([0, 1] * 8)
    kept, accuracies = choose((1, 3, 2), (grids, labels), (grids, labels), "ab", epochs=3)
    assert accuracies[1] == 50 and accuracies[3] == accuracies[2] == 100
    assert kept.spread(grids[0]).cycles[1].sources.size == 2  # of three, one stays silent
    assert kept.brain.bytes == Recogniser(3, "ab", 3).brain.bytes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"winners": 0}, "winners is 0; allowed: 1 or more cells"),
        ({"winners": 1, "pooled": 4}, "pooled is 4; allowed: divisors of 6, the receptors"),
    ],
)
def test_impossible_recognisers_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Recogniser(6, "ab", **arguments)


def test_panel_asks_all_readers_the_same():
    @dataclasses.dataclass
    class Stimulus:
        label: int

    def draw(random, examples, shift=0):
        return [Stimulus(label) for label in (0, 1, 1, 0) * examples]

    readers = {"regression_accuracy": lambda stimulus: 1}
    panel = Panel(draw, lambda one: one.label, {"accuracy": lambda grid: grid}, readers, seed=0)
    assert list(panel.rows(3, "test", 2)) == [
        (3, "test", "accuracy", 100.0),
        (3, "test", "regression_accuracy", 50.0),
    ]
    shares = [value for *_, value in panel.confusion(2, 1)]
    assert shares == [100, 0, 0, 100]


# The experiment


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "chords"}, "task is 'chords'; allowed: 'four_tones', 'twelve_tones'"),
        ({"winners": ()}, "number of winners is 0; allowed: 1 to 100"),
        ({"winners": (4, 0)}, "fewest winners is 0; allowed: 1 to"),
        ({"epochs": 0}, "epochs is 0; allowed: 1 to"),
    ],
)
def test_bad_settings_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        experiment.Config(**changes)


def test_the_test_has_no_rate_duration_or_instrument_of_training():
    rates = (experiment.TRAIN_RATES, experiment.VALIDATION_RATES, experiment.TEST_RATES)
    durations = [task.durations for task in experiment.TASKS.values()]
    instruments = [kinds.values() for kinds in (experiment.KNOWN, experiment.BETWEEN)]
    for parts in (rates, *durations, (*instruments, experiment.UNKNOWN.values())):
        values = [value for part in parts for value in part]
        assert len(set(values)) == len(values)


def test_classical_readers_find_pitches_that_have_no_fundamental():
    task = experiment.TASKS["instruments"]
    full, bare = Instrument(slope=1.0), Instrument(slope=0.5, first=2)
    peak = experiment.spectral_reader(task, 1, whitened=False)
    harmonic = experiment.spectral_reader(task, 15, whitened=False)
    for label in range(12):
        for instrument, readers in ((full, (peak, harmonic)), (bare, (harmonic,))):
            signal = note(semitone(label) / 2, 0.4, 16_000, generator(label), instrument)
            heard = experiment.Sound(signal, 16_000, label)
            assert [read(heard) for read in readers] == [label] * len(readers)


def test_regression_separates_what_can_be_separated():
    random = generator()
    labels = np.arange(60) % 3
    grids = (np.eye(3)[labels] + random.normal(0, 0.1, (60, 3))).reshape(60, 3, 1)
    fitted = experiment.fit_regression((grids, labels), (grids, labels))
    assert [fitted.predict(grid) for grid in grids] == labels.tolist()


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Rows of all variants at the smoke profile, two seeds."""
    found = []
    for config in profiles.configs("substrate_audio", "smoke"):
        for seed in (0, 1):
            frame = experiment.run(config, seed, None, CPU)
            found.append(frame.assign(variant=config.variant, seed=seed))
    return pd.concat(found, ignore_index=True)


@pytest.mark.slow
def test_a_run_is_decided_by_its_seed(rows):
    [config] = [c for c in profiles.configs("substrate_audio", "smoke") if c.task == "four_tones"]
    again = experiment.run(config, 1, None, CPU)
    first = rows[(rows["variant"] == "four_tones") & (rows["seed"] == 1)]
    timed = again["metric"] == "seconds"
    pd.testing.assert_frame_equal(
        first.loc[~timed.to_numpy(), again.columns].reset_index(drop=True),
        again[~timed].reset_index(drop=True),
    )


@pytest.mark.slow
def test_rows_serve_the_claim_and_name_declared_metrics(rows):
    [claim] = [one for one in claims.load() if one.id == "sub-audio"]
    values = statistics.values_by_seed(rows, claim.metric, claim.variant, claim.split, claim.step)
    assert len(values) == 2 and values.between(0, 100).all()
    assert set(rows["metric"]) <= set(metrics.METRICS)
    assert not rows.duplicated(["variant", "seed", "step", "split", "metric"]).any()
    confusion = rows[rows["split"].str.startswith("confusion")]
    sums = confusion.groupby(["variant", "seed", "split"])["value"].sum()
    assert (sums < 100.001).all() and sums.max() == pytest.approx(100)  # -1 is no answer


TASKS = {variant: variant for variant in experiment.TASKS}


@pytest.mark.slow
def test_what_the_chapter_says_follows_the_rows(rows):
    said = findings.audio(rows, plots.READERS)
    assert len(said.splitlines()) == 11
    table = findings.accuracies(rows, TASKS, plots.READERS)
    assert table.loc[("instruments", "harmonic sum"), "0 dB, %"]
    assert findings.sizes(rows, TASKS).loc["four_tones", "reference's bytes"] == "about 10,000"
    worse = rows.copy()
    test = (rows["metric"] == "accuracy") & rows["split"].isin(["test", "test, 0 dB"])
    worse.loc[test, "value"] = 50.0
    changed = findings.audio(worse, plots.READERS)
    assert "neither is met" in changed and "where the reference has 100 %" in changed
    better = rows.copy()
    better.loc[rows["metric"] == "accuracy", "value"] = 100.0
    assert "both are met" in findings.audio(better, plots.READERS)


@pytest.mark.slow
def test_every_figure_is_drawn(rows):
    summary = statistics.summarise(rows)
    axes = {"by snr": ("dB", False, (-10, 20)), "by rate": ("Hz", True, (16_000,))}
    figure = plots.curves(summary, "instruments", axes, 12)
    assert len(figure.axes) == 2 and len(figure.legends[0].get_texts()) == 4
    names = dict.fromkeys(["twelve_tones"], experiment.SEMITONES)
    assert len(plots.confusion(summary, {"twelve_tones": "tones"}, names).axes) == 2
    assert len(plots.intervals(summary, list(experiment.UNKNOWN)).axes) == 4
    for config in profiles.configs("substrate_audio", "smoke"):
        example = experiment.pathway(config, snr=0.0)
        classes = experiment.TASKS[config.task].classes
        assert len(plots.sound_pathway(example, classes).axes) == 3
        assert example["scores"].shape == (len(classes),)
    plt.close("all")
