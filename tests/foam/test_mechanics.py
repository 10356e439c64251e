"""The demonstrations of growth's mechanics, and the chapter made of them."""

import dataclasses

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import pyplot as plt

from plasticity.companion import profiles, statistics
from plasticity.companion.configuration import Runtime
from plasticity.experiments import foam_mechanics as experiment
from plasticity.experiments import foam_speed
from plasticity.findings import foam_mechanics as findings
from plasticity.findings import foam_speed as speed_findings
from plasticity.foam import GrowthConfig, get_growable_model
from plasticity.foam.mechanics import (
    births,
    diversity,
    firing,
    overshoot,
    preservation,
    promises,
    recipe,
    zeroed,
)
from plasticity.foam.mechanics.reading import batches, cipher, mean_loss, small_model
from plasticity.plots import foam_mechanics as plots

CPU = Runtime(device="cpu", workers=1)
TEXT = promises.TEXT
SAYINGS = ["triggers", "orthogonal", "zeroed", "step_sizes", "rates", "births", "preservation"]
SAYINGS += ["averages", "recipe"]
FIGURES = [*SAYINGS[:-1], "lives"]


def base():
    return small_model("qwen2", 16, 24, 1, seed=0)


def batch(seed=0):
    return next(batches(TEXT, 16, 4, seed))


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """What the profile smoke measures, every variant, two seeds for intervals."""
    parts = []
    for config in profiles.configs("foam_mechanics", "smoke"):
        config = dataclasses.replace(config, recipe_steps=210)
        for seed in (0, 1):
            found = experiment.run(config, seed, None, CPU)
            parts.append(found.assign(variant=config.variant, seed=seed))
    return pd.concat(parts, ignore_index=True)


@given(st.text())
def test_the_cipher_is_its_own_inverse(text):
    assert cipher(cipher(text)) == text
    assert len(cipher(text)) == len(text)


def test_batches_are_pieces_of_the_text_and_follow_from_their_seed():
    ids = batch()["input_ids"]
    assert ids.shape == (4, 16)
    assert all(bytes(piece.tolist()).decode() in TEXT for piece in ids)
    assert torch.equal(batch(3)["input_ids"], batch(3)["input_ids"])
    assert not torch.equal(batch(3)["input_ids"], batch(4)["input_ids"])


@pytest.mark.parametrize("size", [1e-12, 1.0])
def test_on_noise_only_the_ratio_to_the_past_is_silent(size):
    model = get_growable_model(base(), GrowthConfig(warmup_steps=20))
    heard = pd.DataFrame(firing.on_noise(model, size, steps=200, seed=0)).iloc[120:]
    assert heard["percentile"].all() and heard["pooled_percentile"].all()
    assert heard["plateau"].all()
    assert not heard["pressure_ratio"].any()
    assert firing.reference_layer_on_noise(size, 20, seed=0) == 1.0


@pytest.mark.parametrize(("width", "real"), [(16, True), (48, True), (64, False), (200, False)])
def test_rows_that_fill_the_space_leave_no_direction(width, real):
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(width, 64, generator=generator)
    left = diversity.remainder(rows, 8, generator)
    assert (left.share > 1e-4) == real
    assert (left.agreement > 0.99) == real


def test_likeness_counts_pairs_of_different_rows():
    assert diversity.likeness(torch.ones(3, 4)) == pytest.approx(1.0)
    assert diversity.likeness(torch.tensor([[1.0, 0], [0, 1], [1, 0]])) == pytest.approx(1 / 3)


@pytest.mark.parametrize("choice", zeroed.ZEROED)
def test_exactly_one_projection_may_be_zero(choice):
    config = GrowthConfig(init="random", train_base="none", init_scale=1.0)
    start = zeroed.start_with(get_growable_model(base(), config), choice, batch(), steps=3)
    count = 0 if choice == "none" else choice.count("+") + 1
    assert (start.logit_change == 0) == (count > 0)
    assert (start.moved > 0) == (count < 2)
    alive = {name for name, norm in start.gradients.items() if norm > 0}
    assert alive == {0: set(zeroed.PROJECTIONS), 1: {choice}}.get(count, set())


@given(st.floats(0.5, 0.95), st.floats(0.96, 0.9999))
@settings(max_examples=20)
def test_padded_moments_overshoot_and_come_back(first, second):
    sizes = [overshoot.overshoot(step, (first, second)) for step in (1, 10, 10**7)]
    assert sizes[0] == pytest.approx((1 - first) / (1 - second) ** 0.5)
    assert sizes[-1] == pytest.approx(1.0)


def test_the_formula_is_what_torch_does_and_a_cohort_does_not_overshoot():
    stream = [torch.full((3,), -2.0)] * 30
    padded = overshoot.update_sizes(stream, 10**6)
    assert padded == pytest.approx([overshoot.overshoot(k) for k in range(1, 31)], rel=1e-3)
    assert overshoot.update_sizes(stream, 0) == pytest.approx([1.0] * 30, rel=1e-3)


@pytest.mark.parametrize(("optimizer", "ratio"), [("SGD", 2.0), ("Adam", 1.0), ("RMSprop", 1.0)])
def test_doubled_gradients_double_the_rate_of_sgd_alone(optimizer, ratio):
    generator = torch.Generator().manual_seed(0)
    stream = [torch.randn(4, generator=generator) for _ in range(20)]
    plain = overshoot.path_length(stream, optimizer)
    doubled = overshoot.path_length(stream, optimizer, gradient_factor=2.0)
    assert doubled / plain == pytest.approx(ratio, rel=1e-3)
    grouped = overshoot.path_length(stream, optimizer, rate_factor=2.0)
    assert grouped / plain == pytest.approx(2.0, rel=1e-3)


def test_newborns_differ_in_direction_alone_and_only_they_learn():
    plain = base()
    lengths, gradients = {}, {}
    for start in births.INITS:
        model = births.grown(plain, start, batch(), 4)
        lengths[start] = model.layers[0].cohorts[0].up.norm(dim=1).mean().item()
        gradients[start] = births.gradient_at_birth(model, batch())
    assert lengths["gradmax"] == pytest.approx(lengths["random"], rel=1e-3)
    assert lengths["gradmax"] == pytest.approx(lengths["copy_and_noise"], rel=0.2)
    assert gradients["gradmax"] > gradients["copy_and_noise"]
    before = mean_loss(model, [batch()])
    kept = births.learn(model, batches(TEXT, 16, 4, 1), 1e-2, [1, 20])
    after = births.loss_with(model, kept[-1], [batch()])
    assert after < births.loss_with(model, kept[0], [batch()]) <= before
    with model.disable_growth():
        assert mean_loss(model, [batch()]) == mean_loss(plain, [batch()])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_cohort_changes_nothing(dtype):
    found = preservation.change_by_growth(base().to(dtype), "cohort", batch(), 5)
    assert found == (0.0, 0.0)
    wider = preservation.change_by_growth(base().to(dtype), "concat", batch(), 5)
    assert wider[0] < 0.1


@pytest.mark.slow
def test_the_readmes_rules_hold_at_its_own_settings():
    life = recipe.live(TEXT, 710, seed=0)
    assert life.births == [200, 400, 600]
    assert {age for age, rate in life.rates.items() if rate > 1.9} >= {1, 250, 500}
    assert [life.retirable[age] for age in (1, 490, 499, 500)] == [False, False, False, True]
    assert life.rates[502] == pytest.approx(1.0, rel=0.02)


def test_a_mean_in_bfloat16_stands_still():
    assert set(recipe.running_mean(torch.bfloat16, 1.0, 1.03, 50)) == {1.0}
    assert recipe.running_mean(torch.float32, 1.0, 1.03, 50)[-1] == pytest.approx(1.03, abs=1e-3)


def test_the_layer_and_the_model_are_drop_ins():
    assert all(recipe.drop_in_checks(TEXT, seed=0).values())


def test_promises_on_one_process(tmp_path):
    assert promises.resume_difference(tmp_path / "resumed") == 0
    assert promises.reload_difference(tmp_path / "merged") < 1e-5
    one, other = promises.growing_model(), promises.growing_model(seed=1)
    assert promises.differences(one, one) == 0 < promises.differences(one, other)


def test_the_readmes_settings_have_its_defaults():
    found = experiment.parameters()
    assert list(found.values()) == [90.0, 10, 200, 500, False]
    assert list(findings.parameters(found).index) == list(found)


def test_settings_out_of_range_are_named():
    with pytest.raises(ValueError, match="topic is 'nothing'"):
        experiment.Config(topic="nothing")
    with pytest.raises(ValueError, match="hidden_size is 20; allowed: multiples of 16"):
        experiment.Config(hidden_size=20)
    with pytest.raises(ValueError, match="event_tokens is 10"):
        foam_speed.Config(event_tokens=10)
    with pytest.raises(ValueError, match="memory_arms is 'lorra'"):
        foam_speed.Config(memory_arms="lora,lorra")
    with pytest.raises(ValueError, match="memory_arms is 'base'"):
        foam_speed.Config(memory_arms="base")


def test_results_follow_from_their_seed():
    config = next(c for c in profiles.configs("foam_mechanics", "smoke") if c.topic == "births")
    first = experiment.run(config, 3, None, CPU)
    pd.testing.assert_frame_equal(first, experiment.run(config, 3, None, CPU))


def test_the_faults_show_at_any_size(rows):
    value = rows.groupby(["metric", "split"])["value"]
    assert value.max()["percentile_limits_growth", "check"] == 0
    assert value.max()["newborns_stay_orthogonal", "check"] == 0
    for name in ("plateau_trigger_fires", "gradient_average_matches", "drop_in_replacement_holds"):
        assert value.min()[name, "check"] == 1
    assert value.max()["logit_change", "bfloat16/cohort"] == 0


@pytest.mark.parametrize("name", FIGURES)
def test_figures_of_the_chapter(rows, name):
    figure = getattr(plots, name)(statistics.summarise(rows))
    assert all(axes.get_title(loc="left") for axes in figure.axes[:1] if axes.axison)
    plt.close(figure)


@pytest.mark.parametrize("name", SAYINGS)
def test_sentences_of_the_chapter(rows, name):
    said = getattr(findings, name)(rows)
    assert "nan" not in said and said.strip()
    assert len(findings.gradients(rows)) == 3


def test_sentences_follow_the_numbers(rows):
    quiet = rows.copy()
    quiet.loc[quiet["split"] == "noise_1e-12/check_growth", "value"] = 3.0
    assert "**always**" in findings.triggers(rows)
    assert "**seldom**" in findings.triggers(quiet)
    worse = rows.copy()
    worse.loc[worse["metric"] == "birth_gradient", "value"] = 1.0
    assert "not met in every seed" in findings.births(worse)
    moved = rows.copy()
    moved.loc[moved["split"] == "float32/cohort", "value"] = 0.5
    assert "exactly 0" in findings.preservation(rows)
    assert "up to 5.0e-01" in findings.preservation(moved)


@pytest.mark.slow
def test_the_benchmark_measures_every_goal(tmp_path):
    [config] = profiles.configs("foam_speed", "smoke")
    found = foam_speed.run(config, 0, tmp_path, CPU)
    table = speed_findings.goals(found)
    assert list(table.index) == list(speed_findings.GOALS)
    peaks = found[found["metric"] == "peak_bytes"].set_index("split")["value"]
    assert list(peaks.index) == ["memory/full_fine_tuning", "memory/growth_freeze"]
    # Weights, their gradients and two moments of a quarter of a million parameters, at least.
    assert (peaks > 2e6).all() and (peaks < 2e9).all()
    promised = table.loc[[name for name in table.index if name.split(":")[0] in (
        "resumed training", "two processes", "reserved room", "merged, saved, loaded"
    )]]  # fmt: skip
    assert len(promised) == 4 and (promised["met"] == "yes").all()
    slow = found.assign(value=found["value"].where(found["metric"] != "event_seconds", 9.0))
    assert speed_findings.goals(slow).loc["an event, seconds", "met"] == "no"
