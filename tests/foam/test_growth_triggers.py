"""When and where a model grows, and what it does not grow on.

Bugs of the specification guarded here: 1 to 7, 9 to 12, 50, 51, 54 and 56; 8 is in
`test_replacement`.
"""

import pytest
import torch
from foam_toys import (
    fast_config,
    grow_everywhere,
    loss_for,
    mlp_loss,
    toy_batch,
    toy_growable,
    toy_model,
    toy_optimizer,
    toy_train,
)
from hypothesis import given
from hypothesis import strategies as st

from plasticity.foam.configuration import GrowthConfig
from plasticity.foam.model import get_growable_model
from plasticity.foam.neurons import Neurons
from plasticity.foam.triggers import Clock, candidates, percentile_threshold, pressure_rises

finite = st.floats(-1e6, 1e6, width=32)


def noise(scale: float, seed: int, width: int = 200) -> torch.Tensor:
    return scale * torch.rand(width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [1e-12, 1.0])
def test_pressure_that_only_fluctuates_fires_nothing_bug_1(size):
    """The reference's percentile names a tenth of the neurons at any size of gradient."""
    layer = toy_growable(trigger="pressure_ratio", pressure_window=50, ema_beta=0.9).layers[0]
    layer.neurons = Neurons(200, 500, 50)
    fired = named = 0
    for step in range(200):
        layer.neurons.update_pressure(noise(size, step), beta=0.9, top=10)
        fired += pressure_rises(layer)
        ema = layer.neurons.corrected_pressure(0.9)
        named += bool((ema > percentile_threshold(ema, 90)).any())
    assert named == 200
    assert fired == 0
    for step in range(5):
        layer.neurons.update_pressure(noise(10 * size + 1e-6, step), beta=0.9, top=10)
    assert pressure_rises(layer)


def test_constant_or_missing_gradients_make_no_candidates_bug_1():
    model = toy_growable(percentile_scope="layer", ema_beta=0.0)
    for value in (0.0, 1.0):
        for layer in model.layers:
            layer.neurons.update_pressure(torch.full((24,), value), beta=0.0, top=3)
        assert [len(found) for found in candidates(list(model.layers), model.growth_config)] == [
            0,
            0,
        ]


@given(st.lists(finite, min_size=1, max_size=60), st.floats(0, 99.9))
def test_percentile_is_one_of_the_values_and_splits_them_bug_2(values, percentile):
    tensor = torch.tensor(values)
    threshold = percentile_threshold(tensor, percentile)
    assert threshold in tensor.tolist()
    rank = round((len(values) - 1) * percentile / 100)
    assert (tensor < threshold).sum() <= rank < (tensor <= threshold).sum()


def test_percentile_of_half_precision_and_of_very_many_values_bug_2():
    values = torch.arange(101.0)
    assert percentile_threshold(values.bfloat16(), 50) == 50
    many = torch.arange(2**24 + 2, dtype=torch.float32)
    assert percentile_threshold(many, 50) == pytest.approx(2**23, rel=1e-6)
    assert percentile_threshold(torch.tensor([float("nan")]), 90) == float("inf")


def test_statistics_stay_float32_when_the_model_is_cast_bug_3():
    model = toy_growable("llama")
    model.layers[0].neurons.pressure.fill_(1.03)
    model.bfloat16()
    neurons = model.layers[0].neurons
    assert neurons.pressure.dtype == torch.float32 and neurons.age.dtype == torch.int64
    assert neurons.pressure[0].item() == pytest.approx(1.03, abs=1e-7)
    for _ in range(100):
        neurons.update_pressure(torch.full((24,), 1.0, dtype=torch.bfloat16), 0.9, 3)
    assert neurons.pressure[0].item() == pytest.approx(1.0, abs=1e-4)  # in bfloat16 it stands still
    assert model.clock.losses.dtype == torch.float64


def test_running_mean_is_right_from_its_first_value_bug_4():
    neurons = Neurons(2, 500, 10)
    for _ in range(30):
        neurons.update_pressure(torch.tensor([3.0, 3.0]), beta=0.9, top=1)
        assert neurons.corrected_pressure(0.9).tolist() == pytest.approx([3.0, 3.0], rel=1e-5)
    assert neurons.pressure[0] < 2.9  # without the correction, still


def test_pressure_is_updated_once_for_a_step_of_many_micro_batches_bug_5():
    model, whole = toy_growable(), toy_growable()
    for each, parts in ((model, 2), (whole, 1)):
        optimizer = toy_optimizer(each)
        ids = toy_batch()["input_ids"]
        for part in ids.chunk(parts):
            (each(input_ids=part, labels=part).loss / parts).backward()
        optimizer.step()
        assert each.layers[0].neurons.updates.unique().tolist() == [1]
        assert int(each.clock.steps) == 1
    pressures = [each.layers[0].neurons.pressure for each in (model, whole)]
    assert torch.allclose(*pressures, rtol=1e-4)


class Scaled(torch.optim.AdamW):
    """An optimizer that scales gradients back itself, as fused ones do under a GradScaler."""

    def step(self, closure=None):
        return None


@pytest.mark.parametrize("overflow", [0.0, 1.0])
def test_pressure_is_of_unscaled_gradients_and_skipped_steps_do_not_count_bug_6(overflow):
    plain = toy_growable()
    optimizer = toy_optimizer(plain)
    loss_for(plain).backward()
    optimizer.step()
    model = toy_growable()
    optimizer = model.attach_optimizer(Scaled(model.param_groups(0.01)))
    optimizer.grad_scale, optimizer.found_inf = torch.tensor(1024.0), torch.tensor(overflow)
    (loss_for(model) * 1024).backward()
    optimizer.step()
    pressures = [each.layers[0].neurons.pressure for each in (model, plain)]
    assert torch.allclose(*pressures, rtol=1e-4)
    assert int(model.clock.steps) == (overflow == 0)


def test_pressure_under_a_grad_scaler_is_that_without_bug_6():
    model, plain = toy_growable(), toy_growable()
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for each in (model, plain):
        optimizer = toy_optimizer(each)
        if each is model:
            scaler.scale(loss_for(each)).backward()
            scaler.step(optimizer)
            scaler.update()
        else:
            loss_for(each).backward()
            optimizer.step()
    pressures = [each.layers[0].neurons.pressure for each in (model, plain)]
    assert torch.allclose(*pressures, rtol=1e-4)
    optimizer = model.link.optimizer
    loss = scaler.scale(loss_for(model)) * float("inf")
    loss.backward()
    scaler.step(optimizer)
    assert int(model.clock.steps) == 1  # the scaler has left the step out


def test_call_before_clipping_counts_once_bug_6():
    model, free = toy_growable(), toy_growable()
    for each in (model, free):
        optimizer = toy_optimizer(each)
        loss_for(each).backward()
        if each is model:
            each.update_statistics()
            torch.nn.utils.clip_grad_norm_(each.parameters(), 1e-3)
        optimizer.step()
    assert torch.equal(model.layers[0].neurons.pressure, free.layers[0].neurons.pressure)
    assert model.layers[0].neurons.updates.max() == 1


def test_statistics_have_one_entry_for_each_neuron_after_growth_bug_7():
    model = toy_growable()
    toy_train(model, toy_optimizer(model), 12)
    for layer in model.layers:
        assert len(layer.neurons) == 24 + sum(cohort.width for cohort in layer.cohorts)
        assert {len(getattr(layer.neurons, n)) for n in Neurons.PER_NEURON} == {len(layer.neurons)}
        assert int(layer.neurons.source.max()) < len(layer.neurons)
    grown = model.layers[0].neurons
    assert grown.age[:24].min() >= 5 + 11  # the base is mature from the start
    assert grown.age.tolist() == sorted(grown.age.tolist(), reverse=True)


def test_check_and_grow_after_gradients_are_gone_bug_9():
    model = toy_growable()
    optimizer = toy_optimizer(model)
    toy_train(model, optimizer, 4, grow=False)
    optimizer.zero_grad(set_to_none=True)
    assert model.check_and_grow().born > 0


def test_cooldown_counts_optimizer_steps_and_not_attempts_bugs_10_11():
    model = toy_growable(growth_cooldown=5)
    optimizer = toy_optimizer(model)
    births = []
    for step in range(1, 17):
        for part in toy_batch(seed=step)["input_ids"].chunk(2):
            model(input_ids=part, labels=part).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        for _ in range(3):  # attempts that fail do not start the cooldown again
            if model.check_and_grow().born:
                births.append(step)
    assert births == [5, 10, 15]  # of the whole model: every layer shares one cooldown


def test_a_skipped_event_does_not_start_the_cooldown_bug_10():
    model = toy_growable(init="gradmax")
    toy_train(model, toy_optimizer(model), 4, grow=False)
    tapes = [layer.recorder.tape for layer in model.layers]
    for layer in model.layers:
        layer.recorder.tape = []
    result = model.check_and_grow()
    assert result.born == 0 and "has seen no gradients" in result.reason
    for layer, tape in zip(model.layers, tapes, strict=True):
        layer.recorder.tape = tape
    assert model.check_and_grow().born > 0


def test_no_event_at_step_zero_or_in_warm_up_bug_12():
    model = toy_growable(warmup_steps=4, growth_cooldown=0)
    optimizer = toy_optimizer(model)
    assert "warm-up" in model.check_and_grow().reason
    toy_train(model, optimizer, 3)
    assert model.born == 0
    toy_train(model, optimizer, 1)
    assert model.born > 0


def test_plateau_needs_a_full_window_and_starts_again_after_growth():
    clock = Clock(window=4)
    for loss in (3.0, 3.0, float("inf"), 3.0):
        clock.add_loss(loss)
        assert not clock.stands_still(0.01)
    clock.add_loss(3.0)
    assert clock.stands_still(0.01)
    clock.grew()
    assert not clock.stands_still(0.01)
    falling = Clock(window=4)
    for loss in (4.0, 3.0, 2.0, 1.0, 0.5):
        falling.add_loss(loss)
    assert not falling.stands_still(0.01)


def test_pooled_pressure_is_relative_so_that_no_layer_takes_all():
    model = toy_growable(ema_beta=0.0, maturation_age=0)
    for factor, layer in zip((1.0, 1000.0), model.layers, strict=True):
        with torch.no_grad():
            for part in layer.block.inputs:
                part.weight.copy_(factor * model.layers[0].block.up.weight)
        layer.neurons.update_pressure(factor * noise(1.0, 1, 24), beta=0.0, top=3)
    found = candidates(list(model.layers), model.growth_config)
    assert {len(found[0]), len(found[1])} <= {2, 3}
    model.growth_config.percentile_scope = "layer"
    assert [len(each) for each in candidates(list(model.layers), model.growth_config)] == [2, 2]
    pooled = torch.cat([layer.neurons.pressure for layer in model.layers])
    assert (pooled > percentile_threshold(pooled, 90))[:24].sum() == 0  # raw, one layer takes all


def test_budget_is_kept():
    model = toy_growable(max_growth_ratio=0.1)
    toy_train(model, toy_optimizer(model), 30)
    assert model.born == int(0.1 * 48)


def test_no_layer_gains_more_than_its_share():
    model = toy_growable(max_growth_ratio=None, max_growth_per_layer=3)
    toy_train(model, toy_optimizer(model), 30)
    gained = [int(layer.neurons.active.sum()) - layer.block.width for layer in model.layers]
    assert max(gained) == 3 and model.born == sum(gained)
    free = toy_growable(max_growth_ratio=None)
    toy_train(free, toy_optimizer(free), 30)
    assert free.born > model.born


def test_evaluation_leaves_no_trace_bug_56():
    model = toy_growable(enable_replacement=True, train_base="ffn")
    optimizer = toy_optimizer(model)
    toy_train(model, optimizer, 3)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.eval()
    loss_for(model, toy_batch(seed=9))
    with torch.no_grad():
        loss_for(model, toy_batch(seed=9))
    assert all(torch.equal(before[name], each) for name, each in model.state_dict().items())


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointing_counts_everything_once_bug_50(reentrant):
    models = []
    for checkpointing in (False, True):
        base = toy_model("llama")
        if checkpointing:
            base.gradient_checkpointing_enable({"use_reentrant": reentrant})
        model = get_growable_model(base, fast_config(enable_replacement=True, train_base="all"))
        toy_train(model.train(), toy_optimizer(model), 5)
        models.append(model)
    states = [each.state_dict() for each in models]
    assert states[0].keys() == states[1].keys()
    for name in states[0]:
        assert torch.allclose(states[0][name].float(), states[1][name].float(), atol=1e-5), name


def test_growing_between_forward_and_backward_changes_no_gradient_bug_51():
    """The old graph keeps the old parameters; with others in their place it would be an error."""
    model, other = toy_growable(), toy_growable()
    loss, expected = loss_for(model), loss_for(other)
    grow_everywhere(model, growth_batch=toy_batch(seed=1))
    loss.backward()
    expected.backward()
    for old, new in zip(other.base_model.parameters(), model.base_model.parameters(), strict=True):
        assert (old.grad is None and new.grad is None) or torch.equal(old.grad, new.grad)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mlp"])
def test_a_wholly_frozen_base_has_pressure_and_grows_bug_54(kind):
    model = toy_growable(kind, train_base="none")
    optimizer = toy_optimizer(model)
    toy_train(model, optimizer, 6)
    assert model.born > 0
    for layer in model.layers:
        assert layer.neurons.updates[:24].min() >= 5
        assert layer.neurons.pressure[:24].min() > 0


def test_frozen_pressure_bounds_the_true_gradient_norm():
    frozen, free = toy_growable(train_base="none"), toy_growable(train_base="ffn")
    for model in (frozen, free):
        loss_for(model).backward()
    for bounded, exact in zip(frozen.layers, free.layers, strict=True):
        bound, norm = bounded.gradient_norms(), exact.gradient_norms()
        assert (bound >= norm * (1 - 1e-5)).all()
        assert torch.corrcoef(torch.stack([bound, norm]))[0, 1] > 0.5


def test_without_an_attached_optimizer_growing_is_refused():
    model = toy_growable()
    with pytest.raises(RuntimeError, match="call attach_optimizer"):
        model.check_and_grow()
    other = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    with pytest.raises(ValueError, match="without any of the model's trainable parameters"):
        model.attach_optimizer(other)
    assert len(other.param_groups) == 1  # refused, so nothing was added


def test_nan_losses_do_not_grow_or_stop_the_model():
    model = toy_growable("mlp", trigger="plateau", plateau_window=2)
    optimizer = toy_optimizer(model)
    for _ in range(4):
        optimizer.zero_grad()
        (mlp_loss(model) * float("nan")).backward()
        model.update_loss(float("nan"))
    assert model.check_and_grow().born == 0
    model.layers[0].neurons.updates.zero_()
    optimizer.step()
    assert model.layers[0].neurons.updates.max() == 0


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("gradient_percentile", 120, r"must be in \[0, 100\), got 120"),
        ("ema_beta", 1.0, r"must be in \[0, 1\), got 1.0"),
        ("max_growth_per_step", 0, "at least 1, got 0"),
        ("max_growth_per_step", 2.5, "whole number"),
        ("max_growth_per_layer", 0, "at least 1, got 0"),
        ("init", "best", "must be one of .*'gradmax'.*got 'best'"),
        ("max_growth_ratio", -1, r"must be in \(0, inf\), got -1"),
        ("layers_to_transform", [7], r"in \[0, 2\), got \[7\]"),
    ],
)
def test_bad_settings_are_named(name, value, message):
    with pytest.raises(ValueError, match=message):
        get_growable_model(toy_model(), GrowthConfig(**{name: value}))


def test_settings_that_exclude_each_other():
    for settings in (
        {"enable_replacement": True, "train_base": "none"},
        {"init": "split", "train_base": "none"},
        {"reserve_events": 2, "freeze_mature": True},
    ):
        with pytest.raises(ValueError, match="set"):
            GrowthConfig(**settings)
    with pytest.warns(UserWarning, match="does not know"):
        GrowthConfig.from_dict({"colour": "blue"})


def test_sources_that_are_no_neurons_are_refused():
    model = toy_growable()
    for sources in ({2: torch.tensor([0])}, {0: torch.tensor([24])}, {0: torch.tensor([-1])}):
        with pytest.raises(ValueError, match=r"\["):
            model.grow(sources, growth_batch=toy_batch())
    assert grow_everywhere(model, growth_batch=toy_batch()).born == 6
