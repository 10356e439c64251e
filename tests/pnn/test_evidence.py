"""The released script's experiments: measures, the two ways, the verdicts, the chapter, export."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from matplotlib import pyplot as plt
from toy_masked import RULE, sampler, toy_ids, toy_model

from plasticity.companion import export, metrics, profiles, results, statistics
from plasticity.companion.cli import main
from plasticity.companion.configuration import Runtime
from plasticity.experiments import pnn_evidence as experiment
from plasticity.experiments import pnn_refinement
from plasticity.experiments.pnn_gate_specificity import released_changes
from plasticity.findings import pnn_evidence as findings
from plasticity.plots import pnn_evidence as plots
from plasticity.pnn import (
    activity,
    difficulty,
    dimensions,
    neighbours,
    released,
)
from plasticity.pnn import evidence as careful
from plasticity.pnn.masking import IGNORED_LABEL, fixed_masks, unmasked

CPU = Runtime(device="cpu", workers=1)
CONFIG = next(c for c in profiles.configs("pnn_evidence", "smoke") if c.variant == "pnn")
VECTORS = arrays.arrays(float, (3, 6), elements=st.floats(-1e3, 1e3).filter(lambda x: abs(x) > 0.1))


@pytest.fixture(scope="module")
def corpus():
    ids = toy_ids(40)
    validation, test = (fixed_masks(ids, RULE, seed) for seed in (1, 2))
    test = tuple(torch.cat([part, part]) for part in test)  # two draws
    return SimpleNamespace(
        train=ids,
        validation=validation,
        test=test,
        rule=RULE,
        pad_token_id=None,
        tokenizer=SimpleNamespace(get_vocab_size=lambda: 40),
        test_sample=sampler(test),
    )


@pytest.fixture(scope="module")
def rows(corpus):
    """Rows of two seeds, of a model that was never trained."""
    patch, found = pytest.MonkeyPatch(), []
    patch.setattr(pnn_refinement, "trained_model", lambda *_: (toy_model(7), corpus))
    patch.setattr(pnn_refinement, "build_model", lambda *_: toy_model(8))
    for seed in (0, 1):
        config = experiment.Config(**{**CONFIG.to_dict(), "test_draws": 2, "sequences": 30})
        found.append(experiment.run(config, seed, None, CPU).assign(variant="pnn", seed=seed))
    patch.undo()
    return pd.concat(found)


@given(VECTORS, st.floats(0.01, 100))
def test_measures_of_spread_do_not_depend_on_length_and_keep_their_bounds(values, factor):
    for measure, low, high in (
        (activity.participation_ratio, 1 / 6, 1),
        (activity.hoyer_sparsity, 0, 1),
        (activity.excess_kurtosis, -3, 6),
    ):
        found = measure(values)
        assert ((found >= low - 1e-9) & (found <= high + 1e-9)).all()
        if np.ptp(values, axis=-1).min() > 1:  # a kurtosis of nearly equal numbers is all rounding
            np.testing.assert_allclose(measure(factor * values), found, atol=1e-6)


@given(arrays.arrays(float, (5, 3, 4), elements=st.floats(-10, 10)))
def test_no_path_is_straighter_than_a_line(states):
    assert (activity.straightness(states) <= 1 + 1e-9).all()


def test_recording_changes_nothing_and_holds_what_the_model_did(corpus):
    model, (ids, labels) = toy_model(), corpus.test
    hidden = labels != IGNORED_LABEL
    sites = ("attention", "raw_proposal", "proposal", "gate", "delta")
    found = activity.record(model, ids, hidden, sites, batch_size=7)
    with torch.no_grad():
        out = model(ids, output_hidden_states=True, output_gates=True, output_deltas=True)
    for site, values in (("state", out.hidden_states), ("gate", out.gates), ("delta", out.deltas)):
        expected = torch.stack([value[hidden] for value in values])
        torch.testing.assert_close(torch.from_numpy(found[site]), expected)
    np.testing.assert_allclose(found["gate"] * found["proposal"], found["delta"], atol=1e-6)
    assert found["attention"].shape == found["raw_proposal"].shape == found["gate"].shape
    with pytest.raises(ValueError, match="chosen must have the shape"):
        activity.record(model, ids, hidden[:, :-1])
    with pytest.raises(ValueError, match="0 chosen"):
        activity.record(model, ids, torch.zeros_like(hidden))


def test_reading_out_is_what_the_head_says(corpus):
    model, (ids, labels) = toy_model(), corpus.test
    hidden = labels != IGNORED_LABEL
    found = activity.record(model, ids, hidden)
    right, own, highest = activity.read_out(model, found["state"][-1], labels[hidden].numpy())
    with torch.no_grad():
        shares = model(ids, labels=labels).logits.softmax(-1)
    np.testing.assert_allclose(own, shares.gather(1, labels[hidden][:, None])[:, 0], atol=1e-6)
    assert ((own == highest) == right).all()


def test_the_area_under_the_curve_counts_pairs_and_its_errors_are_the_bootstraps():
    rng = np.random.default_rng(0)
    scores, right = rng.integers(0, 5, 300).astype(float), rng.random(300) < 0.4
    value, influence = difficulty.area_under_curve(scores, right)
    pairs = scores[right][:, None] - scores[~right]
    assert value == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())
    drawn = []
    for _ in range(500):
        chosen = rng.integers(0, 300, 300)
        drawn.append(difficulty.area_under_curve(scores[chosen], right[chosen])[0])
    assert influence.mean() == pytest.approx(0, abs=1e-9)
    assert influence.std() / np.sqrt(300) == pytest.approx(np.std(drawn), rel=0.15)
    assert difficulty.area_under_curve(scores, np.ones(300, bool))[0] == 0.5


def test_the_errors_of_a_correlation_are_the_bootstraps():
    rng = np.random.default_rng(0)
    first = rng.normal(size=400)
    second = 0.6 * first + rng.normal(size=400)
    value, influence = difficulty.correlation(first, second)
    assert value == pytest.approx(np.corrcoef(first, second)[0, 1])
    drawn = []
    for _ in range(500):
        chosen = rng.integers(0, 400, 400)
        drawn.append(difficulty.correlation(first[chosen], second[chosen])[0])
    assert influence.std() / np.sqrt(400) == pytest.approx(np.std(drawn), rel=0.15)
    assert difficulty.correlation(first, np.zeros(400))[0] == 0


def test_clustered_errors_are_those_of_drawing_clusters_again():
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(80), 5)
    values = rng.normal(size=80)[clusters] + 0.3 * rng.normal(size=400)
    drawn = statistics.cluster_resampler(clusters, 4000, rng)(values)
    error = dimensions.clustered_error(values, clusters)
    assert error == pytest.approx(drawn.std(), rel=0.1)
    assert error > 1.5 * values.std() / np.sqrt(400)


def test_dealing_signs_out_keeps_their_number_and_pulls_courses_apart():
    rng = np.random.default_rng(0)
    changes = np.where(np.arange(100) < 50, 1.0, -1.0) * np.ones((4, 1))  # half rise, half fall
    assert dimensions.shares(dimensions.kinds(changes)).tolist() == [0.5, 0.5, 0, 0]
    null = dimensions.null_shares(changes, 0.0, 200, rng)
    np.testing.assert_allclose(null.mean(0), [1 / 16, 1 / 16, 7 / 8, 0], atol=0.02)
    assert dimensions.shares(dimensions.kinds(changes, 2.0)).tolist() == [0, 0, 0, 1]


def test_a_neighbour_that_is_away_is_not_read(corpus):
    model, ids = toy_model(), corpus.train
    kinds = np.random.default_rng(0).integers(0, 3, ids.shape)
    centres = neighbours.choose_centres(kinds, np.random.default_rng(0))
    for at in (centres.easy, centres.hard):
        assert (np.abs(at - centres.positions) == 1).all()
    assert (kinds[centres.sequences, centres.easy] == 0).all()
    assert (kinds[centres.sequences, centres.hard] == 2).all()
    found = neighbours.losses(model, ids, centres, 4, batch_size=7)
    changed = ids.clone()
    changed[centres.sequences, centres.hard] = 39
    again = neighbours.losses(model, changed, centres, 4)
    for condition in ("hard hidden", "hard away"):
        np.testing.assert_allclose(found[condition], again[condition], atol=1e-5)
    assert not np.allclose(found["shown"], again["shown"])
    assert not np.allclose(found["hard hidden"], found["hard away"])
    assert len(centres.sequences) == len(found["shown"])


def test_every_pass_of_the_script_has_a_mask_of_its_own_and_its_feed_forward_arm_does_nothing():
    ids = torch.randint(5, 40, (64, 12), generator=torch.Generator().manual_seed(1))
    reader = released.Reader(toy_model(), ids, RULE, seed=0)
    assert not (reader.masks()[0] == reader.masks()[0]).all()
    plain, rate = reader.scores(), reader.passes
    reader.passes = rate - 1  # the same mask again
    less = abs(reader.scores(released._suppress("ffn", 75))["loss"] - plain["loss"])
    reader.passes = rate - 1
    nothing = abs(reader.scores(released._suppress("ffn", 100))["loss"] - plain["loss"])
    assert less < 0.05 * nothing


def sample(states: np.ndarray, control: np.ndarray | None = None) -> careful.Sample:
    texts = np.arange(states.shape[1]) // 2
    half = np.full((len(states) - 1, *states.shape[1:]), 0.5)
    found = {
        name: {"state": own, "gate": half, "proposal": half, "raw_proposal": half}
        for name, own in (
            ("trained", states),
            ("untrained", states if control is None else control),
        )
    }
    resample = statistics.cluster_resampler(texts, 200, np.random.default_rng(0))
    return careful.Sample(found, texts, texts, np.zeros(states.shape[1], int), resample)


def path(updates: np.ndarray) -> np.ndarray:
    """Return states of 60 tokens that start alike and go by updates, shape (steps, dimensions)."""
    states = np.concatenate([np.ones((1, updates.shape[1])), updates]).cumsum(0)
    return np.repeat(states[:, None], 60, axis=1)


def verdict(rows: list[tuple], name: str) -> float:
    assert rows[-1][2] == name
    return rows[-1][3]


@pytest.mark.parametrize(("narrow", "holds"), [(1, 1), (2, 1), (0, 0), (3, 0), (None, 0)])
def test_selectivity_needs_the_narrowest_update_in_the_middle(narrow, holds):
    updates = np.ones((4, 8))
    if narrow is not None:
        updates[narrow, 1:] = 0
    found = careful.selectivity(sample(path(updates)))
    assert verdict(found, "middle_steps_most_selective") == holds


@pytest.mark.parametrize(("longer", "holds"), [(1.0, 1), (-1.0, 0), (0.0, 0)])
def test_accumulation_needs_more_growth_than_the_control(longer, holds):
    own, control = path(np.full((4, 8), 2.0)), path(np.full((4, 8), 2.0 - longer))
    found = careful.accumulation(sample(own, control))
    assert verdict(found, "activity_accumulates_beyond_random") == holds


@pytest.mark.parametrize(("moved", "holds"), [(0.5, 1), (0.0, 0), (-0.5, 0)])
def test_difficulty_needs_rare_tokens_to_go_further(moved, holds):
    rare = np.random.default_rng(0).permutation(60).astype(float)
    states = path(np.ones((4, 8)))
    states[1:] += moved * (rare / 60)[:, None]
    found = careful.difficulty(sample(states), rare)
    assert verdict(found, "hard_tokens_change_more") == holds


def test_neighbours_that_do_not_matter_correlate_as_shuffled_ones_do():
    rng = np.random.default_rng(0)
    texts = np.repeat(np.arange(300), 5)
    level = rng.normal(size=300)[texts]  # only the text matters
    states = np.zeros((2, len(texts), 3))
    one = careful.Sample(
        {"trained": {"state": states}}, texts, texts, texts * 0, lambda values: values
    )
    found = careful.neighbour_correlations(one, level + rng.normal(size=len(texts)), 20, rng)
    overall, inside, shuffled = (value for *_, value in found)
    assert overall > 0.3
    assert inside == pytest.approx(shuffled, abs=0.1)
    assert shuffled < -0.1


@pytest.mark.parametrize(("sign", "holds"), [(1, 1), (-1, 0), (0, 0)])
def test_entropy_must_tell_right_from_wrong(sign, holds):
    rng = np.random.default_rng(0)
    right = rng.random(60) < 0.5
    one = sample(path(np.ones((4, 8))) + rng.normal(size=(5, 60, 8)))
    one.found["trained"]["gate"] = np.full((4, 60, 8), 0.7) + 0.1 * sign * right[:, None]
    found = careful.entropy(one, right, rng.random(60))
    assert verdict(found, "low_entropy_marks_easy") == holds


def test_kinds_of_dimensions_must_beat_the_deals():
    ramp = np.linspace(0, 1, 5)[:, None, None]
    rises = np.where(np.arange(16) < 8, 1.0, -1.0)
    noise = 0.01 * np.random.default_rng(0).normal(size=(5, 60, 16))
    states = 3 + ramp * rises + noise
    rng = np.random.default_rng(0)
    found = careful.dimension_kinds(sample(states), 200, rng)
    assert verdict(found, "dimension_types_exceed_null") == 1
    zigzag = 3 + noise + np.where(np.arange(5) % 2, 1.0, 0.0)[:, None, None] * rises
    found = careful.dimension_kinds(sample(zigzag), 200, rng)
    assert verdict(found, "dimension_types_exceed_null") == 0


def test_an_activity_figure_with_a_gap_is_not_complete():
    one = sample(path(np.ones((4, 8))))
    whole = {"delta_generation": {"values": [1.0] * 8}}
    assert verdict(careful.activity(one, whole), "activity_figure_complete") == 1
    for gap in ([1.0] * 7, [], [1.0] * 7 + [np.nan]):
        broken = {"delta_generation": {"values": gap}}
        assert verdict(careful.activity(one, broken), "activity_figure_complete") == 0


@pytest.mark.parametrize("agree", [True, False])
def test_a_ranking_is_stable_if_all_ways_agree(agree):
    one = sample(path(np.ones((4, 8))))
    costs = dict(zip(experiment.COMPONENTS, (3.0, 2.0, 1.0), strict=True))
    lost = {
        (0, f"{part}, {way}"): (None, np.full(60, cost))
        for part, cost in costs.items()
        for way in experiment.WAYS
    }
    if not agree:
        lost[0, f"gate, {experiment.AT_MEAN}"] = (None, np.full(60, 9.0))
    found = experiment._ranking_rows(lost, one)
    assert verdict(found, "component_ranking_is_stable") == agree


def test_every_quantity_is_declared_and_every_claim_has_its_check(rows):
    assert all(metrics.metric(name).unit for name in rows["metric"].unique())
    assert set(rows.loc[rows["unit"] == "check", "metric"]) == {
        "activity_figure_complete",
        "suppression_figure_complete",
        *findings.CHECKS,
    }
    complete = rows[rows["metric"].str.endswith("figure_complete")]
    assert (complete["value"] == 1).all()


def test_the_refiner_is_exchanged_and_nothing_else(rows):
    own = rows[(rows["metric"] == "state_rms") & (rows["seed"] == 0)]
    sizes = own.set_index(["split", "step"])["value"]
    assert sizes["trained", 0] == sizes["untrained", 0]
    assert sizes["trained", 1] != sizes["untrained", 1]


def test_drops_lie_in_their_bounds_and_the_norm_undoes_scaling(rows):
    own = rows[rows["seed"] == 0].set_index(["metric", "step", "split"])["value"]
    assert (own["accuracy_drop_low"] <= own["accuracy_drop_high"]).all()
    less, nothing = (
        abs(own["loss_increase", 0, f"ffn before its norm, {rate} % suppressed"])
        for rate in (75, 100)
    )
    assert less < 0.05 * nothing


def test_the_export_has_the_scripts_keys_and_numbers(rows, corpus):
    found = export.evidence(rows[rows["seed"] == 0])
    plain = unmasked(*corpus.validation)
    changes = released_changes(torch.Generator().manual_seed(0))
    direct = released.evidence(released.Reader(toy_model(7), plain, RULE, 0), changes)
    assert json.loads(json.dumps(direct)) == found
    gate = found["gate_specificity"]
    assert set(gate) == {
        "baseline", "selective_suppression", "anti_gate", "noise_injection", "pattern_shuffling",
        "uniform_gate", "magnitude_scaling",
    }  # fmt: skip
    assert list(gate["noise_injection"]) == ["noise_10", "noise_30", "noise_50"]
    one = gate["magnitude_scaling"]["scale_150"]
    assert one["accuracy_drop"] == gate["baseline"]["accuracy"] - one["metrics"]["accuracy"]
    with pytest.raises(ValueError, match="one variant and seed"):
        export.evidence(rows)


def test_the_command_writes_the_export(rows, monkeypatch, tmp_path):
    monkeypatch.setattr(results, "load", lambda *_: SimpleNamespace(rows=rows))
    file = tmp_path / "found.json"
    found = CliRunner().invoke(
        main, ["export", "pnn_evidence", "--seed", "1", "--output", str(file)]
    )
    assert found.exit_code == 0, found.output
    assert json.loads(file.read_text()) == export.evidence(rows[rows["seed"] == 1])
    for wrong in (
        ["pnn_evidence", "--seed", "7"],
        ["pnn_evidence", "--variant", "x"],
        ["pnn_speed"],
    ):
        found = CliRunner().invoke(main, ["export", *wrong])
        assert found.exit_code == 1
        assert "allowed" in found.output


def test_the_chapter_is_made_of_the_rows(rows):
    text = findings.everything(rows)
    assert text.count("\n- **As released**") == text.count("**Experiment ") == 9
    assert text.count("- **The conclusion ") == len(findings.CHECKS)
    assert len(findings.verdicts(rows)) == len(findings.CHECKS)
    for own in (rows, rows[rows["seed"] == 0]):
        summary = statistics.summarise(own)
        for figure in (
            plots.meg_temporal_patterns(summary),
            plots.optogenetics_suppression(summary),
            plots.brain_activity_patterns(summary),
            plots.dimensionwise_patterns(own, summary),
            plots.token_difficulty_analysis(summary),
            plots.layer_importance_analysis(summary),
            plots.layerwise_activity_analysis(summary),
            plots.cross_token_interference(summary),
            plots.gate_entropy_analysis(summary),
        ):
            figure.canvas.draw()
            plt.close(figure)
