"""Classes, rules and nulls of convergence, and the chapter made from them."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from matplotlib import pyplot as plt

from plasticity.companion import metrics, profiles, statistics
from plasticity.companion.configuration import Runtime
from plasticity.experiments import pnn_convergence
from plasticity.experiments.pnn_convergence import CONTRASTS, NULLS, RULES, analyse
from plasticity.findings import pnn_convergence as findings
from plasticity.plots import pnn_convergence as plots
from plasticity.pnn import PnnConfig, PnnForMaskedLM, convergence
from plasticity.pnn.convergence import CLASSES, resampled_means
from plasticity.pnn.trajectories import Trajectories, follow

PATHS = {  # predictions after the embeddings and four steps, with what each rule says of target 7
    (7, 7, 7, 7, 7): {"class": "easy", "repeat": 1, "change": 0, "right": 0},
    (7, 8, 8, 7, 7): {"class": "easy", "repeat": 2, "change": 3, "right": 3},
    (7, 7, 8, 8, 8): {"class": "easy", "repeat": 1, "change": 2, "right": 4},
    (8, 7, 7, 7, 7): {"class": "medium", "repeat": 2, "change": 1, "right": 1},
    (8, 8, 8, 8, 7): {"class": "medium", "repeat": 1, "change": 4, "right": 4},
    (8, 7, 9, 7, 7): {"class": "medium", "repeat": 4, "change": 3, "right": 3},
    (8, 8, 8, 8, 8): {"class": "hard", "repeat": 1, "change": 0, "right": 4},
    (8, 9, 8, 9, 8): {"class": "hard", "repeat": 4, "change": 4, "right": 4},
    (8, 7, 7, 7, 9): {"class": "hard", "repeat": 2, "change": 4, "right": 4},
}
PREDICTIONS = np.array(list(PATHS)).T  # (readouts + 1, tokens)
TARGETS = np.full(len(PATHS), 7)


def expected(name):
    return [path[name] for path in PATHS.values()]


# Classes and rules


def test_classes_of_known_paths():
    found = convergence.difficulty(PREDICTIONS, TARGETS)
    assert [CLASSES[index] for index in found] == expected("class")


def test_rules_on_known_paths():
    assert convergence.first_repeat(PREDICTIONS).tolist() == expected("repeat")
    assert convergence.last_change(PREDICTIONS).tolist() == expected("change")
    assert convergence.right_for_good(PREDICTIONS, TARGETS).tolist() == expected("right")


def test_first_below_takes_the_last_step_for_never():
    values = np.array([[0.4, 0.6, 0.5], [0.6, 0.4, 0.5], [0.1, 0.1, 0.5]])
    assert convergence.first_below(values, 0.5).tolist() == [1, 2, 3]


def test_thirds_keep_words_together():
    thirds = convergence.frequency_third(np.repeat([900, 30, 4], [50, 25, 25]))
    assert thirds.tolist() == [0] * 50 + [1] * 25 + [2] * 25
    assert convergence.frequency_third(np.array([5, 5, 5])).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: convergence.first_repeat(np.zeros((1, 3))), r"predictions has shape \(1, 3\)"),
        (lambda: convergence.last_change(np.zeros(3)), r"predictions has shape \(3,\)"),
        (
            lambda: convergence.difficulty(np.zeros((2, 3)), np.zeros(2)),
            r"targets has shape \(2,\); allowed: \(3,\)",
        ),
        (lambda: convergence.first_below(np.zeros((0, 3)), 0.1), r"values has shape \(0, 3\)"),
    ],
)
def test_wrong_shapes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


shapes = st.tuples(st.integers(2, 7), st.integers(1, 30))
paths = shapes.flatmap(
    lambda shape: st.tuples(
        arrays(np.int64, shape, elements=st.integers(0, 3)),
        arrays(np.int64, shape[1], elements=st.integers(0, 3)),
        st.permutations(range(shape[1])),
    )
)


@given(paths)
def test_rules_stay_in_range_and_treat_tokens_alike(drawn):
    predictions, targets, order = drawn
    last = len(predictions) - 1
    for lowest, rule in (
        (1, lambda p, t: convergence.first_repeat(p)),
        (0, lambda p, t: convergence.last_change(p)),
        (0, convergence.right_for_good),
        (1, lambda p, t: convergence.first_below(np.abs(np.diff(p, axis=0)), 1)),
    ):
        steps = rule(predictions, targets)
        assert steps.min() >= lowest
        assert steps.max() <= last
        assert (rule(predictions[:, order], targets[order]) == steps[order]).all()
    classes = convergence.difficulty(predictions, targets)
    assert (convergence.difficulty(predictions[:, order], targets[order]) == classes[order]).all()
    hard = convergence.right_for_good(predictions, targets)[classes == 2]
    assert (hard == last).all()


@given(paths)
def test_class_means_are_means(drawn):
    predictions, targets, _ = drawn
    steps, classes = (
        convergence.last_change(predictions),
        convergence.difficulty(predictions, targets),
    )
    for index, mean in enumerate(convergence.class_means(steps, classes)):
        own = steps[classes == index]
        assert np.isnan(mean) if len(own) == 0 else mean == pytest.approx(own.mean())


# Nulls


def constructed(knows: float, tokens: int = 3000) -> Trajectories:
    """Return paths of a model that settles at a step of its own choice.

    A third of the tokens are easy, medium and hard. With `knows` 0 the step has nothing to do with
    the class, beyond whether the first guess is kept; with 1 hard tokens settle late.
    """
    rng = np.random.default_rng(0)
    classes = np.arange(tokens) % 3
    targets = np.where(classes == 0, 7, 8 + rng.integers(0, 3, tokens))
    final = np.where(classes == 2, targets + 10, targets)
    predictions = np.full((5, tokens), 7)  # the first guess knows nothing: the same for all
    late = np.where(rng.random(tokens) < knows, np.where(classes == 2, 3, 1), 0)
    start = np.where(late > 0, late, rng.integers(1, 4, tokens))
    for step in range(1, 5):
        predictions[step] = np.where(step >= start, final, 20 + step)
    predictions[1:, classes == 0] = 7
    size = rng.random((4, tokens)).astype(np.float32)
    return Trajectories(predictions, targets, np.arange(tokens), size, size)


def gap_and_nulls(paths: Trajectories) -> dict[str, float]:
    config = pnn_convergence.Config(permutations=100)
    counts, rng = np.arange(100)[::-1], np.random.default_rng(1)
    rows = analyse(paths, paths, paths.sequences, counts, config, rng)
    named = {
        metric: value
        for _, split, metric, value in rows
        if ":hard_minus_easy" in split and split.startswith("convergence_step")
    }
    checks = {metric: value for _, _, metric, value in rows if metric.startswith("easy_needs")}
    return named | checks


def test_texts_that_are_all_alike_make_a_gap_certain_and_two_groups_of_them_do_not():
    classes = np.tile([0, 2], 100)
    alike, apart = np.tile([1, 3], 100), np.where(np.arange(200) < 100, 1, np.tile([1, 3], 100))
    rng = np.random.default_rng(0)
    texts = np.repeat(np.arange(4), 50)
    for steps, spread in ((alike, 0.0), (apart, 0.5)):
        means = resampled_means(steps[None], classes, texts, 400, rng)
        gaps = means[:, 0, 2] - means[:, 0, 0]
        assert gaps.mean() == pytest.approx(2.0 if steps is alike else 1.0, abs=0.15)
        assert gaps.std() == pytest.approx(spread, abs=0.1)  # of 4 texts, not of 200 tokens


def test_exchanged_labels_leave_no_gap():
    paths = constructed(knows=1.0)
    found = gap_and_nulls(paths)
    assert found["step_gap"] > 1
    assert found["label_null_gap"] == pytest.approx(0, abs=0.05)
    assert found["label_null_gap"] < found["label_null_gap_bound"] < found["step_gap"]


def test_labels_exchanged_among_the_like_keep_what_the_likeness_brings():
    steps, classes = np.array([1, 1, 3, 3, 4, 4]), np.array([0, 0, 1, 2, 1, 2])
    drawn = convergence.exchanged_labels(
        steps, classes, 50, np.random.default_rng(0), alike=classes == 0
    )
    assert (drawn[:, 0] == 1).all()
    assert drawn[:, 1:].mean() == pytest.approx(3.5)
    assert drawn[:, 1].std() > 0


def test_a_gap_that_the_definition_forces_is_not_counted_as_more():
    found = gap_and_nulls(constructed(knows=0.0))
    assert found["step_gap"] > 1  # easy tokens keep their first guess, hard ones drop it
    assert found["endpoint_null_gap"] == pytest.approx(found["step_gap"], abs=0.1)
    assert found["step_gap"] < found["endpoint_null_gap_bound"]
    assert found["easy_needs_fewer_steps_than_null"] == 0


def real_effect(tokens: int = 600) -> Trajectories:
    """Return paths of tokens that all keep their first guess, or drop it, but at their own pace.

    Hard tokens return to the first guess late, where easy ones never leave it.
    """
    classes = np.arange(tokens) % 3
    by_class = np.array([(7, 7, 7, 7, 7), (7, 5, 8, 8, 8), (7, 5, 4, 7, 7)])
    predictions = by_class[classes].T.copy()
    predictions[:, :30:3] = np.array([7, 6, 6, 6, 6])[:, None]  # easy tokens that end wrong
    size = np.ones((4, tokens), dtype=np.float32)
    return Trajectories(predictions, np.array([7, 8, 9])[classes], np.arange(tokens), size, size)


def test_a_real_effect_passes_every_null():
    found = gap_and_nulls(real_effect())
    assert found["step_gap"] > found["endpoint_null_gap_bound"]
    assert found["easy_needs_fewer_steps_than_null"] == 1


def test_targets_exchanged_among_tokens_alike_change_nothing():
    predictions = np.repeat([[6], [7], [7]], 40, axis=1)
    targets = np.repeat([6, 7, 8, 8], 10)
    steps = convergence.first_repeat(predictions)
    drawn = convergence.exchanged_targets(
        predictions, targets, lambda shuffled: steps, 20, np.random.default_rng(0)
    )
    assert (drawn == 2).all()


def test_targets_exchanged_reach_the_rule_that_looks_at_them():
    drawn = convergence.exchanged_targets(
        PREDICTIONS,
        np.arange(len(PATHS)) % 3 + 7,
        lambda shuffled: convergence.right_for_good(PREDICTIONS, shuffled),
        50,
        np.random.default_rng(0),
    )
    assert np.nanstd(drawn[:, 0]) > 0
    assert (drawn[:, 2] == 4).all()


# Following a model


def test_follow_agrees_with_a_model_computed_by_hand():
    torch.manual_seed(0)
    model = PnnForMaskedLM(
        PnnConfig(
            vocab_size=20,
            hidden_size=8,
            num_attention_heads=2,
            intermediate_size=16,
            num_steps=3,
            max_position_embeddings=6,
        )
    ).eval()
    ids = torch.randint(5, 20, (3, 6))
    labels = torch.full_like(ids, -100)
    labels[0, 1], labels[2, 4], labels[2, 5] = 9, 11, 6
    found = follow(model, ids, labels, batch_size=2)
    with torch.no_grad():
        state, states = model.pnn.embeddings(ids), []
        for step in range(4):
            states.append(state[labels != -100])
            if step < 3:
                gate, proposal = model.pnn.refiner(state, None)
                state = state + gate * proposal
        logits = [model.head(one) for one in states]
    assert found.targets.tolist() == [9, 11, 6]
    assert found.sequences.tolist() == [0, 2, 2]
    assert found.predictions.tolist() == [one.argmax(-1).tolist() for one in logits]
    for step in range(3):
        now, before = (logits[step + back].softmax(-1) for back in (1, 0))
        divergence = (now * (now.log() - before.log())).sum(-1)
        assert found.divergence[step] == pytest.approx(divergence.numpy(), rel=1e-3, abs=1e-6)
        moved = (states[step + 1] - states[step]).norm(dim=-1) / states[step].norm(dim=-1)
        assert found.change[step] == pytest.approx(moved.numpy(), rel=1e-4)


# The chapter


def rows_of(
    paths_by_variant: dict[str, Trajectories], over: float = 10.0, seeds: int = 2
) -> pd.DataFrame:
    """Return rows as the experiment makes them from given paths."""
    frames = []
    config = pnn_convergence.Config(permutations=20)
    for variant, one in paths_by_variant.items():
        for seed in range(seeds):
            rng = np.random.default_rng(seed)
            rows = analyse(one, one, one.sequences, np.arange(100)[::-1], config, rng)
            rows.append((0, "test", "accuracy_over_guess", over))
            frame = pd.DataFrame(rows, columns=["step", "split", "metric", "value"])
            frames.append(frame[np.isfinite(frame["value"])].assign(variant=variant, seed=seed))
    joined = pd.concat(frames, ignore_index=True)
    return joined.assign(unit=[metrics.metric(name).unit for name in joined["metric"]])


def plateau(tokens: int = 300) -> Trajectories:
    """Return paths of a model that always answers the same: none is medium."""
    size = np.zeros((4, tokens), dtype=np.float32)
    targets = np.where(np.arange(tokens) % 10, 8 + np.arange(tokens) % 5, 7)
    return Trajectories(np.full((5, tokens), 7), targets, np.arange(tokens), size, size)


def test_rows_of_an_analysis_are_complete_and_add_up():
    rows = rows_of({"pnn": constructed(0.5)}, seeds=1)
    assert not rows.duplicated(["step", "split", "metric"]).any()
    values = rows.set_index(["metric", "split", "step"])["value"].sort_index()
    assert sum(values["token_share", name, 0] for name in CLASSES) == pytest.approx(100)
    assert values["converged_tokens"].sum() == 3000
    for name in CLASSES:
        counts = values["converged_tokens", name]
        mean = (counts * counts.index).sum() / counts.sum()
        assert mean == pytest.approx(values["convergence_step", name, 0])
    gap = values["convergence_step", "hard", 0] - values["convergence_step", "easy", 0]
    assert values["step_gap", "convergence_step:hard_minus_easy", 0] == pytest.approx(gap)
    blind = len(RULES) - 1
    for null in NULLS:
        found = len(values[f"{null}_gap"])
        assert found == len(CONTRASTS) * (len(RULES) if null == "target_null" else blind)


def test_thresholds_come_from_the_validation_set():
    test, validation = constructed(0.5), plateau()
    config = pnn_convergence.Config(permutations=20, small_share=0.9)
    rng = np.random.default_rng(0)
    rows = analyse(test, validation, test.sequences, np.arange(100), config, rng)
    values = {(split, metric): value for _, split, metric, value in rows}
    assert values["validation", "divergence_threshold"] == 0
    assert values["all", "small_divergence_step"] == 4  # nothing is smaller than no move at all


def test_findings_part_what_is_forced_from_what_is_not():
    forced = findings.convergence(rows_of({"pnn": constructed(0.0)}), plots.LABELS)
    assert "the gap passes every null for hard minus easy in 0" in forced
    assert "is emergent" not in forced
    assert "In none of these models do easy tokens settle sooner in every seed" in forced
    assert "That is the plateau" not in forced and "is not clear of the plateau" in forced
    assert "**forces 100 % of the gap**, and 98 % of that of medium tokens" in forced
    knows = findings.convergence(rows_of({"pnn": real_effect()}), plots.LABELS)
    passes = "the gap passes every null for hard minus easy in 2 and medium minus easy in 2"
    assert f"The rest is emergent: of 2 seeds, {passes}" in knows
    rows = rows_of({"pnn": real_effect()})
    lost = (rows["split"] == "convergence_step:medium_minus_easy") & (rows["metric"] == "step_gap")
    part = findings.convergence(rows.assign(value=rows["value"].mask(lost, -1.0)), plots.LABELS)
    assert "Only part of the rest is more than chance" in part
    assert "hard minus easy in 2 and medium minus easy in 0" in part
    assert "sooner than the definition forces in PNN." in knows


def test_findings_of_a_plateau_claim_nothing():
    rows = rows_of({"bert_stepwise": plateau()}, over=0.0)
    text = findings.convergence(rows, plots.LABELS)
    assert "10.0 %, 0.0 %, 90.0 %" in text
    assert "That is the plateau" in text
    assert "there is no curriculum to explain" in text
    assert "No order, since a class has no tokens, by: last change" in text
    assert "frequency predicts nothing" in text
    assert (rows.query("metric == 'easy_needs_fewer_steps_than_null'")["value"] == 0).all()
    table = findings.classes(rows, plots.LABELS)
    assert table.loc["medium", "steps: 12-layer BERT with PNN's losses"] == "—"
    assert table.loc["medium", "steps: paper"] == "2.29"


def test_findings_say_which_class_is_missing():
    one = plateau()
    none_easy = Trajectories(one.predictions, one.targets + 1, *list(vars(one).values())[2:])
    text = findings.convergence(rows_of({"pnn": none_easy}), plots.LABELS)
    assert "No token is easy or medium, so hard and easy cannot be compared." in text


def test_tables_hold_every_arm_and_rule():
    rows = rows_of({"pnn": constructed(0.5), "bert_stepwise": plateau()})
    table = findings.rules(rows, plots.LABELS)
    assert len(table) == 2 * len(RULES)
    assert table.loc[("PNN", "right for good"), "hard"] == "4.00"
    nulls = findings.nulls(rows, plots.LABELS)
    assert nulls.loc[("PNN", "hard minus easy", "right for good"), "classes exchanged"] == "—"
    assert nulls.loc[("PNN", "hard minus easy", "last change"), "measured"].startswith("+")


def test_figures_have_what_the_rows_hold():
    rows = rows_of({"pnn": constructed(0.5), "bert_stepwise": plateau()})
    summary = statistics.summarise(rows)
    source = pnn_convergence
    for variant in ("pnn", "bert_stepwise"):
        own = summary[summary["variant"] == variant]
        figure = plots.figure_2(
            own,
            source.SOURCE_COUNTS,
            source.SOURCE_STEPS,
            source.SOURCE_STABILITY,
            source.SOURCE_SHARES,
        )
        heights = [bar.get_height() for bar in figure.axes[3].patches]
        shares = own[(own["metric"] == "token_share") & own["split"].isin(CLASSES)]["mean"]
        assert heights == pytest.approx(shares.tolist())
        ticks = [tick.get_text() for tick in figure.axes[1].get_xticklabels()]
        assert ("no token" in ticks[1]) == (variant == "bert_stepwise")
    rules = plots.rules(summary)
    titles = [axes.get_title(loc="left") for axes in rules.axes]
    assert titles == ["PNN", "12-layer BERT with PNN's losses"]
    gaps = plots.nulls_and_frequency(summary).axes[0]
    measured = summary.query("metric == 'step_gap' and variant == 'pnn'").set_index("split")["mean"]
    tallest = gaps.patches[0].get_height()
    assert tallest == pytest.approx(measured["convergence_step:hard_minus_easy"])
    plt.close("all")


def test_the_papers_own_figures_agree_with_each_other():
    counts = {name: np.array(pnn_convergence.SOURCE_COUNTS[name]) for name in CLASSES}
    total = sum(values.sum() for values in counts.values())
    for name, values in counts.items():
        mean = (values * np.arange(1, 5)).sum() / values.sum()
        assert mean == pytest.approx(pnn_convergence.SOURCE_STEPS[name], abs=0.02)
        share = 100 * values.sum() / total
        assert share == pytest.approx(pnn_convergence.SOURCE_SHARES[name], abs=0.1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"permutations": 5}, "permutations is 5; allowed: 20 to inf"),
        ({"small_share": 1.0}, r"small_share is 1\.0; allowed: 0\.01 to 0\.99"),
        ({"architecture": "gpt"}, "architecture is 'gpt'"),
    ],
)
def test_bad_settings_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        pnn_convergence.Config(**changes)


@pytest.mark.slow
def test_a_run_at_smoke_is_decided_by_its_seed(monkeypatch):
    monkeypatch.delenv("PLASTICITY_DATA", raising=False)
    config = profiles.configs("pnn_convergence", "smoke")[0]
    runtime = Runtime(device="cpu", workers=1)
    first, second = (pnn_convergence.run(config, 0, None, runtime) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
    values = first.set_index(["metric", "split", "step"])["value"]
    assert values["converged_tokens"].sum() == values["scored_tokens", "test", 0]
    assert values["easy_needs_fewer_steps_than_null", "test", 0] in (0, 1)
