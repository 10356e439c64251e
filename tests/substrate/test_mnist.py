"""The chapter on digits: what is measured, said and drawn, on digits made up here."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from plasticity.companion import claims, metrics, profiles, statistics
from plasticity.companion.configuration import Runtime
from plasticity.experiments import substrate_mnist as experiment
from plasticity.findings import substrate_mnist as findings
from plasticity.plots import substrate_mnist as plots

CPU = Runtime(device="cpu", workers=1)
SIZES = {"train": 300, "validation": 60, "test": 80}
SMALL = {"epochs": 2, "patches": 2000, "filters": 4, "compared": 5}


def made(split):
    """Return dots in one of ten places, two of them each time, and their place."""
    generator = np.random.default_rng(sorted(SIZES).index(split))
    labels = np.arange(SIZES[split]) % 10
    images = np.zeros((len(labels), 28, 28), np.uint8)
    for image, label in zip(images, labels, strict=True):
        row, column = 4 + label // 5 * 12 + generator.integers(3), 2 + label % 5 * 5
        image[row : row + 5, column : column + 3] = generator.integers(150, 256)
        image[13, 13] = 255
    return images, labels.astype(np.uint8)


@pytest.fixture(scope="module")
def digits():
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(experiment, "digits", made)
        yield


def measure(tmp_path, variant, seed=0, **settings):
    config = experiment.Config(variant=variant, **{**SMALL, **settings})
    rows = experiment.run(config, seed, tmp_path / variant, CPU)
    return rows.assign(variant=variant, seed=seed, experiment="substrate_mnist", profile="smoke")


@pytest.fixture(scope="module")
def study(digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    arms = {
        "filters": {"scored": "test"},
        "filters_small": {"scored": "test", "sizes": (7,), "blocks": (6,)},
        "reference_recipe": {"scored": "test", "learner": "levels"},
        "adam": {"learner": "levels"},
        "plain": {"learner": "levels", "rule": "delta"},
        "filters_held_out": {},
        "as_they_lie": {"upright": False},
        "random_filters": {"patches": 0},
        "by_images": {"by": "images", "points": (20, 100)},
        "by_epochs": {"by": "epochs", "points": (1, 2)},
        "by_filters": {"by": "filters", "points": (2, 3)},
        "svm": {"learner": "svm", "scored": "test"},
        "neighbours": {"learner": "neighbours", "scored": "test"},
        "perceptron": {"learner": "perceptron", "scored": "test"},
    }
    seeds = (0, 1)
    return pd.concat([measure(folder, n, s, **arm) for n, arm in arms.items() for s in seeds])


CONFIGS = {name: experiment.Config(variant=name) for name in plots.LABELS}


def value(rows, variant, metric, split, step=0):
    return statistics.values_by_seed(rows, metric, variant, split, step)[0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"learner": "magic"}, "learner is 'magic'; allowed: 'filters', 'levels', 'svm'"),
        ({"scored": "train"}, "scored is 'train'; allowed: 'validation', 'test'"),
        ({"by": "images"}, "number of points is 0; allowed: True to 100"),
        ({"sizes": (7, 5, 3)}, "number of blocks is 2; allowed: 3 to 3"),
        ({"filters": 12}, "filters is 12; allowed: 1 to 8"),
        ({"epochs": 0}, "epochs is 0; allowed: 1 to 1000"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        experiment.Config(**settings)


def test_nothing_is_learnt_from_what_it_is_scored_on(digits):
    held_out, final = (experiment.Config(scored=split) for split in ("validation", "test"))
    assert len(experiment.to_learn(held_out, 0)[0]) == SIZES["train"]
    images, _ = experiment.to_learn(final, 0)
    assert len(images) == SIZES["train"] + SIZES["validation"]
    np.testing.assert_array_equal(images[: SIZES["train"]], made("train")[0])
    few = dataclasses.replace(held_out, images=30)
    drawn = [experiment.to_learn(few, seed)[0] for seed in (0, 0, 1)]
    assert len(drawn[0]) == 30 and (drawn[0] == drawn[1]).all() and (drawn[0] != drawn[2]).any()


def test_rows_hold_what_the_chapter_and_the_ledger_need(study):
    assert list(study.columns[:5]) == ["step", "split", "metric", "value", "unit"]
    for metric, unit in set(zip(study["metric"], study["unit"], strict=True)):
        assert metrics.metric(metric).unit == unit
    assert np.isfinite(study["value"]).all()
    assert value(study, "filters", "accuracy", "test") > 90
    assert value(study, "filters", "agreeing_digits", "test") == 5
    assert value(study, "reference_recipe", "agreement_of_two_hundred", "test") == 80
    packed = value(study, "filters_small", "kilobytes", "packed")
    assert 36 * 16 * 10 + 4 * 49 < 1000 * packed < 36 * 16 * 10 + 4 * 49 + 300
    assert value(study, "neighbours", "kilobytes", "packed") == 360 * 784 / 1000
    points = study[(study["variant"] == "by_images") & (study["metric"] == "accuracy")]
    assert points["step"].tolist() == [20, 100] * 2


def test_claims_on_digits_are_decided_by_these_rows(study):
    enough = pd.concat([study, study.assign(seed=study["seed"] + 2)])
    for claim in claims.load():
        if claim.experiment == "substrate_mnist":
            assert claims.judge(claim, {"laptop": enough}).verdict != "not yet", claim.id


def test_mistakes_are_those_of_the_test(study):
    wrong = findings.mistakes(study, "filters", 0)
    accuracy = value(study, "filters", "accuracy", "test")
    assert len(wrong) == round(SIZES["test"] * (1 - accuracy / 100))
    labels = made("test")[1]
    assert all(answer != labels[place] for place, answer in wrong.items())


def test_a_model_is_left_behind_and_comes_back(digits, tmp_path, monkeypatch):
    config = experiment.Config(variant="filters", scored="test", **SMALL)
    experiment.run(config, 0, tmp_path, CPU)
    folders = []
    monkeypatch.setattr(
        experiment.results, "checkpoint_folder", lambda *unit: folders.append(unit) or tmp_path
    )
    kept = experiment.trained(config, 0)
    assert folders == [("substrate_mnist", config, 0)]
    (tmp_path / experiment.MODEL).unlink()
    again = experiment.trained(config, 0)
    np.testing.assert_array_equal(kept.votes_, again.votes_)
    reason = experiment.reasons(kept, 3)
    scores = np.sort(kept.decision_function(made("test")[0][3:4])[0])
    assert reason["label"] == 3 and reason["answer"] != reason["rival"]
    assert reason["evidence"].sum() == pytest.approx(scores[-1] - scores[-2])


def test_what_is_said_follows_the_numbers(study):
    said = findings.sentences(study, CONFIGS)
    assert "agree exactly on every one of the 5 digits compared in each run" in said
    assert "learnt from fewer" not in said and "a linear SVM" in said
    broken = study.copy()
    broken.loc[broken["metric"] == "agreeing_digits", "value"] -= 1
    assert "NOT on every one" in findings.sentences(broken, CONFIGS)
    goal = study.copy()
    accuracy = (goal["metric"] == "accuracy") & (goal["split"] == "test")
    goal.loc[accuracy, "value"] = 99.5
    assert findings.sentences(goal, CONFIGS).count("all met") == 2
    goal.loc[goal["metric"] == "seconds", "value"] = 61.0
    assert "missed: time" in findings.sentences(goal, CONFIGS)
    few = CONFIGS | {"svm": experiment.Config(variant="svm", images=50)}
    assert "from fewer digits here** (a linear SVM 50; the filters from all)" in (
        findings.sentences(study, few)
    )
    line = findings.learners(study, plots.LABELS, few).loc["linear SVM"]
    assert (line["digits learnt"], line["seeds"]) == ("50", "2")


def test_every_figure_is_drawn(study):
    summary = statistics.summarise(study)
    images, labels = made("test")
    shown = {"label": 0, "answer": 0, "rival": 1}
    figures = [
        plots.trade_offs(summary, findings.SOURCE, list(findings.GOALS.values())),
        plots.by_images(summary),
        plots.differences(findings.differences(study)),
        plots.pictures([images[:4], images[4:8]], ["one", "two"]),
        plots.filters([np.ones((3, 5, 5)), np.ones((2, 3, 3))], ["5", "3"]),
        plots.confusion(summary, "filters"),
        plots.mistakes(images[:14], labels[:14], labels[1:15]),
        plots.mistakes(images[:0], labels[:0], labels[:0]),
        plots.reasons([{**shown, "evidence": images[1] - 9.0, "grid": images[0]}] * 2),
    ]
    for figure in figures:
        figure.canvas.draw()
        plt.close(figure)
    scatter = figures[0].axes[0]
    shown = [line.get_label() for line in scatter.lines]
    assert {"filters and contexts", "linear SVM", "the source says", "goal"} <= set(shown)


@pytest.mark.parametrize("profile", profiles.names())
def test_profiles_measure_what_the_chapter_shows(profile):
    variants = {config.variant for config in profiles.configs("substrate_mnist", profile)}
    needed = {"filters", "filters_small", "reference_recipe", "adam", "plain", findings.WHOLE}
    assert needed | set(findings.PARTS) <= variants
    finals = {"filters", "filters_small", "reference_recipe", *experiment.PEERS}
    for config in profiles.configs("substrate_mnist", profile):
        assert (config.scored == "test") == (config.variant in finals)
