"""Films, the two eyes, and the chapter made of them."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot as plt

from plasticity.companion import claims, metrics, profiles, statistics
from plasticity.companion.configuration import Runtime
from plasticity.experiments import substrate_video as experiment
from plasticity.findings import substrate_senses as findings
from plasticity.plots import substrate_senses as plots
from plasticity.substrate.domains.video import (
    LEAST_LEFT,
    SQUARE,
    FrameEncoder,
    MotionEncoder,
    film,
    noisy,
    shape,
    texture,
    velocity,
)

CPU = Runtime(device="cpu", workers=1)
SHAPES = st.tuples(st.integers(6, 20), st.integers(24, 64), st.integers(24, 64))
SEEDS = st.integers(0, 2**32 - 1)


@pytest.fixture(autouse=True)
def shipped_sample_only(monkeypatch):
    monkeypatch.delenv("PLASTICITY_DATA", raising=False)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def centre(frame: np.ndarray) -> np.ndarray:
    places = np.indices(frame.shape).reshape(2, -1)
    return (places * frame.ravel()).sum(axis=1) / frame.sum()


# Films


@given(SHAPES, st.floats(0, 360), st.floats(0.05, 0.6), SEEDS)
@settings(max_examples=30, deadline=None)
def test_things_move_as_they_are_told_and_stay_inside(whole, direction, speed, seed):
    motion = velocity(direction, speed)
    clip = film(SQUARE, whole, motion, generator(seed))
    assert clip.shape == whole and clip.dtype == np.float32
    assert clip.min() > -1e-6 and clip.max() < 1 + 1e-6
    side = 0.25 * min(whole[1:])
    np.testing.assert_allclose(clip.sum(axis=(1, 2)), side**2, rtol=1e-4)
    moved = centre(clip[-1]) - centre(clip[0])
    np.testing.assert_allclose(moved, motion * min(whole[1:]), atol=0.1)
    half = centre(clip[-1]) - centre(clip[len(clip) // 2])
    share = 1 - (len(clip) // 2) / (len(clip) - 1)
    np.testing.assert_allclose(half, share * motion * min(whole[1:]), atol=0.1)


@pytest.mark.parametrize(
    ("whole", "speed", "message"),
    [
        ((1, 16, 16), 0.1, r"shape is \(1, 16, 16\); allowed: 2 frames or more, sides of 4"),
        ((4, 16, 16), 0.9, r"motion is .*; allowed: paths that fit into \(4, 16, 16\)"),
    ],
)
def test_impossible_films_are_named(whole, speed, message):
    with pytest.raises(ValueError, match=message):
        film(SQUARE, whole, velocity(0, speed), generator())


def test_grounds_drift_and_noise_is_as_strong_as_asked_for():
    ground = texture((9, 32, 48), velocity(0, 0.5), generator())
    np.testing.assert_allclose(ground[-1], np.roll(ground[0], 16, axis=1), atol=1e-4)
    assert ground[0].mean() == pytest.approx(0, abs=1e-6)
    assert ground.var() == pytest.approx(1, abs=1e-3)
    assert ground.shape == (9, 32, 48) and ground.dtype == np.float32
    noise = noisy(ground, -6, generator()) - ground
    assert 20 * np.log10(ground.std() / noise.std()) == pytest.approx(-6, abs=0.2)
    assert noisy(ground, np.inf, generator()) is ground
    assert {shape(generator(i)).sum() > 0 for i in range(50)} == {True}


# The eyes


@given(SHAPES, st.integers(0, 7), st.sampled_from((0.15, 0.3, 0.6)), SEEDS)
@settings(max_examples=40, deadline=None)
def test_any_frames_and_size_show_the_same_motion(whole, direction, speed, seed):
    eye = MotionEncoder()
    clip = film(SQUARE, whole, velocity(45 * direction, speed), generator(seed))
    grid = eye(clip)
    assert grid.shape == (6, 16) and grid.dtype == np.float32
    assert grid.min() >= 0 and grid.max() == 1
    row, column = np.unravel_index(grid.argmax(), grid.shape)
    turn = abs(column - 2 * direction) % 16
    assert min(turn, 16 - turn) <= 1
    assert 0.7 < eye.speeds[row] / speed < 1.5


@given(SHAPES, SEEDS)
@settings(max_examples=15, deadline=None)
def test_what_stands_still_and_how_bright_it_is_do_not_matter(whole, seed):
    eye, random = MotionEncoder(), generator(seed)
    clip = film(SQUARE, whole, velocity(30, 0.4), random)
    scene = texture((2, *whole[1:]), np.zeros(2), random)[0]
    np.testing.assert_allclose(eye(3 - 5 * clip + scene), eye(clip), atol=2e-3)


def test_two_frames_cannot_tell_a_motion_from_its_opposite():
    clip = noisy(film(SQUARE, (2, 32, 32), velocity(0, 0.3), generator()), 0, generator(1))
    energies = MotionEncoder().energies(clip)
    np.testing.assert_allclose(energies, np.roll(energies, 8, axis=1), rtol=1e-3)


def test_energies_are_those_of_a_plain_sum():
    eye = MotionEncoder(directions=3, speeds=(0.2, 0.5), waves=3)
    clip = noisy(film(SQUARE, (5, 12, 16), velocity(10, 0.3), generator(1)), 0, generator(2))
    still = clip - clip.mean(axis=0)
    places = np.indices((12, 16))
    expected = np.zeros((2, 3))
    for down in range(-3, 4):
        for right in range(5):
            waves = np.array([down, right * 12 / 16])  # in a shorter side
            if np.hypot(*waves) > 3 or (right == 0 and down <= 0):
                continue
            phase = 2 * np.pi * (down * places[0] / 12 + right * places[1] / 16)
            amplitude = (still * np.exp(-1j * phase)).sum(axis=(1, 2))
            for i, speed in enumerate(eye.speeds):
                for j in range(3):
                    cycles = (velocity(120 * j, speed) * waves).sum() * np.arange(5) / 4
                    turns = np.exp(2j * np.pi * cycles)
                    left = max(1 - abs(turns.mean()) ** 2, LEAST_LEFT)
                    expected[i, j] += abs((amplitude * turns).sum()) ** 2 / left
    np.testing.assert_allclose(eye.energies(clip), expected, rtol=1e-4)


@given(st.integers(2, 12), st.integers(6, 40), st.integers(6, 40), st.integers(1, 6))
@settings(max_examples=30, deadline=None)
def test_the_eye_for_places_sees_means_of_fields(frames, height, width, side):
    clip = generator(0).random((frames, height, width), np.float32)
    eye = FrameEncoder(frames=3, side=side)
    grid = eye(clip)
    assert grid.shape == (3, side, side)
    assert grid.min() >= 0 and grid.max() <= 1
    ramp = np.broadcast_to(np.arange(width, dtype=np.float32), (frames, height, width))
    columns = eye(ramp)[0, 0]
    assert (np.diff(columns) >= 0).all()
    assert not eye(np.ones((frames, height, width))).any()


@pytest.mark.parametrize("eye", [FrameEncoder(), MotionEncoder()])
def test_what_is_no_film_is_named(eye):
    with pytest.raises(ValueError, match=r"clip has shape \(8, 8\); allowed: \(frames, height"):
        eye(np.ones((8, 8)))
    with pytest.raises(ValueError, match=r"clip has shape \(1, 8, 8\); .* 2 frames or more"):
        eye(np.ones((1, 8, 8)))
    assert not eye(np.ones((3, 8, 8))).any()


def test_impossible_eyes_are_named():
    with pytest.raises(ValueError, match=r"clip has shape \(3, 5, 9\); allowed: sides of 6"):
        FrameEncoder()(np.ones((3, 5, 9)))
    with pytest.raises(ValueError, match=r"directions is 16, waves 10, speeds \(0.0,\); allowed"):
        MotionEncoder(speeds=(0.0,))


# The experiment


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "dance"}, "task is 'dance'; allowed: 'four_motions', 'motions'"),
        ({"winners": ()}, "number of winners is 0; allowed: 1 to 100"),
        ({"test_examples": 0}, "test_examples is 0; allowed: 1 to"),
    ],
)
def test_bad_settings_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        experiment.Config(**changes)


def test_the_test_has_no_frames_size_or_digit_of_training():
    for found in (experiment.FRAMES, experiment.SIZES):
        values = [value for part in found.values() for value in part]
        assert len(set(values)) == len(values)
    splits = ("train", "validation", "test")
    seen = [{digit.tobytes() for digit in experiment.pictures(split)} for split in splits]
    assert all(seen)
    assert not (seen[0] & seen[2] or seen[1] & seen[2] or seen[0] & seen[1])


@pytest.mark.parametrize("whitened", [True, False])
def test_the_correlation_of_frames_finds_clean_motions(whitened):
    task = experiment.TASKS["motions"]
    read = experiment.correlation_reader(task, 0.5, whitened)
    for label, (angle, speed) in enumerate(task.motions):
        clip = film(SQUARE, (13, 60, 70), velocity(angle, speed), generator(label))
        assert read(experiment.Film(clip, label)) == label


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Rows of all variants at the smoke profile, two seeds."""
    found = []
    for config in profiles.configs("substrate_video", "smoke"):
        for seed in (0, 1):
            frame = experiment.run(config, seed, None, CPU)
            found.append(frame.assign(variant=config.variant, seed=seed))
    return pd.concat(found, ignore_index=True)


@pytest.mark.slow
def test_a_run_is_decided_by_its_seed(rows):
    [config] = [c for c in profiles.configs("substrate_video", "smoke") if c.task == "four_motions"]
    again = experiment.run(config, 1, None, CPU)
    first = rows[(rows["variant"] == "four_motions") & (rows["seed"] == 1)]
    timed = again["metric"] == "seconds"
    pd.testing.assert_frame_equal(
        first.loc[~timed.to_numpy(), again.columns].reset_index(drop=True),
        again[~timed].reset_index(drop=True),
    )


@pytest.mark.slow
def test_rows_serve_the_claim_and_name_declared_metrics(rows):
    [claim] = [one for one in claims.load() if one.id == "sub-video"]
    values = statistics.values_by_seed(rows, claim.metric, claim.variant, claim.split, claim.step)
    assert len(values) == 2 and values.between(0, 100).all()
    assert set(rows["metric"]) <= set(metrics.METRICS)
    assert not rows.duplicated(["variant", "seed", "step", "split", "metric"]).any()
    assert set(rows.loc[rows["split"] == "by drift", "variant"]) == {"digits"}


@pytest.mark.slow
def test_what_the_chapter_says_follows_the_rows(rows):
    said = findings.video(rows, plots.READERS)
    assert len(said.splitlines()) == 11
    worse = rows.copy()
    test = (rows["metric"] == "accuracy") & rows["split"].isin(["test", "test, 0 dB"])
    worse.loc[test, "value"] = 50.0
    changed = findings.video(worse, plots.READERS)
    assert "neither is met" in changed and "where the reference has 100 %" in changed
    better = rows.copy()
    better.loc[rows["metric"] == "accuracy", "value"] = 100.0
    assert "both are met" in findings.video(better, plots.READERS)
    assert "at every point measured, from 2 frames on" in findings.video(better, plots.READERS)


@pytest.mark.slow
def test_every_figure_is_drawn(rows):
    summary = statistics.summarise(rows)
    axes = {"by snr": ("dB", False, (-10, 20)), "by frames": ("frames", True, (8, 12))}
    figure = plots.curves(summary, "digits", axes, 24)
    assert len(figure.axes) == 2 and len(figure.legends[0].get_texts()) == 3
    names = dict.fromkeys(["motions", "digits"], experiment.TASKS["motions"].classes)
    assert len(plots.confusion(summary, dict.fromkeys(names, "title"), names).axes) == 3
    [config] = [c for c in profiles.configs("substrate_video", "smoke") if c.task == "digits"]
    task, example = experiment.TASKS["digits"], experiment.pathway(config, snr=0.0)
    drawn = plots.film_pathway(example, task.encoder.speeds, task.classes)
    assert len(drawn.axes) == 7  # five frames, the wheel, the scores
    plt.close("all")
