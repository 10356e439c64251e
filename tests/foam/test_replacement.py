"""Neurons that do nothing give their place to newborns (the reference's V3).

Bugs of the specification guarded here: 8 and 41 to 46.
"""

import pytest
import torch
from foam_toys import (
    fast_config,
    loss_for,
    mlp_loss,
    toy_batch,
    toy_growable,
    toy_model,
    toy_optimizer,
    toy_train,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from plasticity.foam import GrowthSkipped, get_growable_model
from plasticity.foam.dormancy import continual_backprop, redo, replaceable, utility, wanda
from plasticity.foam.measuring import activations
from plasticity.foam.recording import activation_means


def dormant_model(number=(3, 9), kind="llama", **changes):
    """A model some of whose neurons say nothing; maturity is far away for newborns."""
    base = toy_model(kind)
    settings = {"enable_replacement": True, "maturation_age": 50} | changes
    model = get_growable_model(base, fast_config(**settings))
    for layer in model.layers:
        weight = layer.block.down.weight.data
        rows = weight if kind == "gpt2" else weight.T
        rows[list(number)] *= 1e-6
    return model


def trained(model, steps=3):
    optimizer = toy_optimizer(model, lr=1e-6)
    toy_train(model, optimizer, steps, grow=False)
    return optimizer


@pytest.mark.parametrize("kind", ["llama", "llama_bias", "gpt2", "mlp"])
def test_the_dormant_are_replaced_and_the_width_stays_bug_8(kind):
    model = dormant_model(kind=kind)
    optimizer = trained(model)
    before = loss_for(model).item()
    result = model.check_and_grow()
    assert result.replaced == len(model.layers)  # one percent of 24, at least one
    assert loss_for(model).item() == pytest.approx(before, rel=1e-4)
    for entry in result.layers.values():
        assert entry["retired"] in ([3], [9])
    toy_train(model, optimizer, 8, grow=False)
    layer = model.layers[0]
    [gone] = result.layers[layer.block.name]["retired"]
    assert not layer.rows("up")[gone].any() and not layer.rows("down")[gone].any()
    assert not layer.neurons.active[gone] and layer.neurons.birth[24:].min() == 0
    expected = loss_for(model).item()
    widths = [int(each.neurons.active.sum()) for each in model.layers]
    assert widths == [24 - 1 + len(entry["slots"]) for entry in result.layers.values()]
    merged = model.merge_and_unload()
    assert loss_for(merged).item() == pytest.approx(expected, rel=1e-5)
    assert layer.block.width == max(widths)


def test_order_of_statistics_is_order_of_rows_after_replacement_bug_8():
    model = dormant_model(maturation_age=2)
    optimizer = trained(model)
    for step in range(6):
        toy_train(model, optimizer, 1, first=step)
    layer = model.layers[0]
    loss_for(model, toy_batch(seed=50)).backward()
    norms = layer.gradient_norms()
    for number, cohort in enumerate(layer.cohorts):
        for row, slot in enumerate(layer.slots(number)):
            own = (cohort.gate.grad[row].square().sum() + cohort.up.grad[row].square().sum()).sqrt()
            assert norms[slot].item() == pytest.approx(own.item(), rel=1e-5)
    assert not layer.rows("up")[~layer.neurons.active].any()


def test_newborns_are_not_pruned_at_once_bug_41():
    model = dormant_model(number=(3,))
    trained(model)
    first = model.check_and_grow()
    assert first.born > 0
    layer = model.layers[0]
    newborn = torch.nonzero(layer.neurons.birth >= 0).flatten()
    assert utility(layer)[newborn].max() == 0  # their columns are zero
    toy_train(model, model.link.optimizer, 5)
    assert layer.neurons.active[newborn].all()
    assert len(layer.neurons) > 24 + len(newborn)  # there were further events


def test_age_counts_the_steps_of_the_neuron_bug_42():
    model = toy_growable(maturation_age=100)
    optimizer = toy_optimizer(model)
    toy_train(model, optimizer, 7, grow=False)
    model.grow({0: torch.arange(2)}, growth_batch=toy_batch())
    toy_train(model, optimizer, 3, grow=False)
    model.grow({0: torch.arange(1)}, growth_batch=toy_batch())
    toy_train(model, optimizer, 2, grow=False)
    assert model.layers[0].neurons.age[24:].tolist() == [5, 5, 2]
    model.layers[0].cohorts[0].requires_grad_(False)
    toy_train(model, optimizer, 2, grow=False)
    assert model.layers[0].neurons.age[24:].tolist() == [5, 5, 4]


def test_a_newborn_inherits_nothing_of_the_retired_bug_43():
    model = dormant_model(number=(3,))
    optimizer = trained(model, 6)
    result = model.check_and_grow()
    layer = model.layers[0]
    slots = result.layers[layer.block.name]["slots"]
    neurons = layer.neurons
    for name in ("age", "updates", "pressure", "mean_square", "observations"):
        assert not getattr(neurons, name)[slots].any(), name
    assert not any(p in optimizer.state for p in layer.cohorts[0].parameters())
    for name in ("exp_avg", "exp_avg_sq"):
        assert not optimizer.state[layer.block.up.weight][name][3].any()
        assert not optimizer.state[layer.block.down.weight][name][:, 3].any()
        assert optimizer.state[layer.block.up.weight][name][4].any()


def test_what_is_silent_now_but_not_on_old_data_is_kept_bug_44():
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))
    with torch.no_grad():
        base[0].bias.zero_()
        base[0].weight[2] = torch.tensor([5.0, 0.0, 0.0, 0.0])  # speaks only where x0 > 0
    new, old = -torch.rand(20, 4), torch.rand(20, 4)

    def loss(inputs):
        return lambda model: model(inputs).square().mean()

    model = get_growable_model(base, fast_config(enable_replacement=True, init="random"))
    optimizer = toy_optimizer(model, lr=1e-6)
    for _ in range(3):
        optimizer.zero_grad()
        loss(new)(model).backward()
        optimizer.step()
    layer = model.layers[0]
    assert 2 in replaceable(layer, 8).tolist()
    [means] = activations(model, loss(old))
    assert 2 not in replaceable(layer, 8, means).tolist()
    result = model.grow({0: torch.tensor([0])}, replay_batch=loss(old))
    assert result.layers[""]["retired"] != [2]


@given(st.integers(0, 24), st.integers(1, 30))
@settings(max_examples=8, deadline=None)
def test_no_more_than_the_cap_are_replaced_bug_45(count, most):
    model = dormant_model(number=range(count))
    layer = model.layers[0]
    layer.neurons.observations += 1
    layer.neurons.mean_square += 1
    found = replaceable(layer, most)
    assert len(found) <= min(most, 1)
    big = nn.Sequential(nn.Linear(2, 500), nn.ReLU(), nn.Linear(500, 2))
    with torch.no_grad():
        big[2].weight.fill_(1.0)
        big[2].weight[:, : count * 10] = 0
    wide = get_growable_model(big, fast_config(enable_replacement=True)).layers[0]
    wide.neurons.observations += 1
    wide.neurons.mean_square += 1
    assert len(replaceable(wide, most)) == min(most, 5, count * 10)


def test_dormancy_is_measured_in_training_on_real_tokens_bug_46():
    model = dormant_model()
    for layer in model.layers:
        layer.recorder.observing = True
    batch = toy_batch()
    batch["attention_mask"][:, 5:] = 0
    model.train()
    model(**batch)
    layer = model.layers[0]
    mean = layer.neurons.mean_square.clone()
    other = dormant_model()
    other.train()
    changed = {k: v.clone() for k, v in batch.items()}
    changed["input_ids"][:, 5:] = 7  # padding only
    other(**changed)
    assert torch.allclose(other.layers[0].neurons.mean_square, mean, rtol=1e-5)
    seen = int(layer.neurons.observations[0])
    model.eval()
    model(**batch)
    assert int(layer.neurons.observations[0]) == seen == 1


def test_an_event_that_costs_too_much_is_undone():
    model = dormant_model(max_prune_jump=0.0, dormancy_tau=1e9)
    optimizer = trained(model)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    state = {p: {n: v.clone() for n, v in s.items()} for p, s in optimizer.state.items()}
    result = model.check_and_grow(growth_batch=toy_batch())
    if result.born == 0:
        assert "max_prune_jump" in result.reason
        assert all(torch.equal(before[n], t) for n, t in model.state_dict().items())
        for parameter, each in state.items():
            assert all(torch.equal(optimizer.state[parameter][n], v) for n, v in each.items())
    else:
        assert result.loss_after <= result.loss_before
    bad = dormant_model(max_prune_jump=0.0, dormancy_tau=1e9)
    trained(bad)
    with torch.no_grad():  # the one that goes is the one that matters
        for layer in bad.layers:
            layer.neurons.mean_square.fill_(1e6)
            layer.neurons.mean_square[5] = 0
            layer.block.down.weight[:, 5] = 30.0

    def costs_less_with_all(model):
        loss = model(**toy_batch()).loss
        return -loss

    with pytest.raises(GrowthSkipped, match="max_prune_jump"):
        bad.grow({0: torch.tensor([1]), 1: torch.tensor([1])}, growth_batch=costs_less_with_all)


def test_closed_forms_of_the_utilities():
    square, absolute = torch.tensor([4.0, 0.0]), torch.tensor([2.0, 0.0])
    assert wanda(square, torch.tensor([3.0, 5.0])).tolist() == [6.0, 0.0]
    assert redo(absolute, torch.tensor([True, True])).tolist() == [2.0, 0.0]
    assert continual_backprop(absolute, torch.ones(2), torch.full((2,), 4.0)).tolist() == [0.5, 0]
    square, absolute = activation_means(torch.tensor([[1.0, -2.0], [3.0, 0.0]]), None)
    assert (square.tolist(), absolute.tolist()) == ([5.0, 2.0], [2.0, 1.0])


@pytest.mark.parametrize("rule", ["wanda", "redo", "cbp"])
def test_every_rule_finds_a_neuron_that_never_speaks(rule):
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))
    with torch.no_grad():
        base[0].weight[6] = 0
        base[0].bias[6] = -1
    model = get_growable_model(base, fast_config(enable_replacement=True, dormancy=rule))
    optimizer = toy_optimizer(model, lr=1e-6)
    x = torch.randn(50, 4)
    for _ in range(3):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    assert replaceable(model.layers[0], 1).tolist() == [6]


def test_an_activation_that_is_not_zero_at_zero_cannot_retire():
    base = nn.Sequential(nn.Linear(4, 8), nn.Sigmoid(), nn.Linear(8, 4))
    model = get_growable_model(base, fast_config(enable_replacement=True, dormancy_tau=1e9))
    optimizer = toy_optimizer(model, lr=1e-6)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(9, 4)).square().mean().backward()
        optimizer.step()
    with pytest.raises(ValueError, match=r"needs an activation with f\(0\) = 0"):
        model.check_and_grow()


def test_a_protected_base_loses_nothing_and_newborns_can_go():
    model = toy_growable(
        train_base="none",
        enable_replacement=True,
        protect_base=True,
        maturation_age=2,
        dormancy_tau=1e9,
    )
    before = loss_for(model).item()
    toy_train(model, toy_optimizer(model, lr=1e-4), 12)
    assert sum(result.replaced for result in model.growth_log) > 0
    assert all(layer.neurons.active[:24].all() for layer in model.layers)
    with model.disable_growth():
        assert loss_for(model).item() == before


@given(st.lists(st.sampled_from(["grow", "train", "save"]), min_size=1, max_size=6))
@settings(max_examples=12, deadline=None)
def test_whatever_is_done_the_accounts_agree(actions):
    """Slots, statistics, optimizer groups and merged widths, after any sequence of actions."""
    model = toy_growable("mlp", enable_replacement=True, maturation_age=2, dormancy_tau=0.5)
    optimizer = toy_optimizer(model)
    layer = model.layers[0]
    for step, action in enumerate(actions):
        if action == "grow":
            sources = torch.nonzero(layer.neurons.active).flatten()[:3]
            model.grow({0: sources}, growth_batch=mlp_loss)
        elif action == "train":
            toy_train(model, optimizer, 2, first=step)
        else:
            model.load_state_dict(model.state_dict())
    held = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters() if p.requires_grad)
    assert len(layer.neurons) == len(layer.rows("up")) == len(layer.rows("down"))
    gone = ~layer.neurons.active
    assert not layer.rows("up")[gone].any() and not layer.rows("down")[gone].any()
    expected, width = loss_for(model).item(), int(layer.neurons.active.sum())
    assert width == 24 + sum(result.born - result.replaced for result in model.growth_log)
    merged = model.merge_and_unload()
    assert merged[0].out_features == width
    assert loss_for(merged).item() == pytest.approx(expected, rel=1e-5)
