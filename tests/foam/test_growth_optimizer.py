"""Newborns in an optimizer that is already running.

Bugs of the specification guarded here: 25 to 33 and 38 to 40. Of these, 26 (a larger tensor in the
old parameter), 28 (moments of old rows) and 29 (moments padded with zeros under an old step) cannot
happen with cohorts, whose parameters are new: what is tested is that the old ones are untouched.
34 to 37, 8-bit states, are in `test_quantised`.
"""

import copy

import pytest
import torch
from foam_toys import (
    fast_config,
    grow_everywhere,
    loss_for,
    toy_batch,
    toy_growable,
    toy_model,
    toy_optimizer,
    toy_train,
)
from torch import nn
from transformers import get_cosine_schedule_with_warmup

from plasticity.foam import attach_optimizer, get_growable_model
from plasticity.foam.optimizers import OptimizerLink, clear_state, shaped_state

OPTIMIZERS = {
    "adamw": (torch.optim.AdamW, {"weight_decay": 0.1}),
    "adamw_for_loop": (torch.optim.AdamW, {"foreach": False}),
    "adamw_fused": (torch.optim.AdamW, {"fused": True}),
    "adam": (torch.optim.Adam, {"amsgrad": True}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.1}),
    "rmsprop": (torch.optim.RMSprop, {}),
    "adagrad": (torch.optim.Adagrad, {}),
    "adafactor": (torch.optim.Adafactor, {}),
}


def groups(optimizer):
    return {g.get("growth", "base"): g for g in optimizer.param_groups}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_newborns_are_moved_by_any_optimizer_bug_25(name):
    kind, settings = OPTIMIZERS[name]
    model = toy_growable()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = attach_optimizer(model, kind(parameters, lr=1e-2, **settings))
    toy_train(model, optimizer, 3, grow=False)
    grow_everywhere(model, growth_batch=toy_batch())
    before = [p.clone() for layer in model.layers for p in layer.cohorts[0].parameters()]
    toy_train(model, optimizer, 3, grow=False)
    after = [p for layer in model.layers for p in layer.cohorts[0].parameters()]
    assert not any(torch.equal(old, new) for old, new in zip(before, after, strict=True))
    every = [id(p) for g in optimizer.param_groups for p in g["params"]]
    assert len(every) == len(set(every))
    assert set(every) == {id(p) for p in model.parameters() if p.requires_grad}


def test_old_parameters_and_moments_are_the_same_objects_bugs_26_28():
    model = toy_growable()
    optimizer = toy_optimizer(model)
    toy_train(model, optimizer, 4, grow=False)
    old = dict(model.base_model.named_parameters())
    state = {p: {n: v.clone() for n, v in each.items()} for p, each in optimizer.state.items()}
    grow_everywhere(model, growth_batch=toy_batch())
    assert all(p is old[n] for n, p in model.base_model.named_parameters())
    for parameter, each in state.items():
        assert all(torch.equal(optimizer.state[parameter][n], v) for n, v in each.items())
    assert set(state) == set(optimizer.state)


def test_no_state_is_left_behind_bug_27():
    model = toy_growable(maturation_age=3)
    optimizer = toy_optimizer(model)
    toy_train(model, optimizer, 12)
    alive = {id(p) for p in model.parameters()}
    assert {id(p) for p in optimizer.state} <= alive
    assert {id(p) for g in optimizer.param_groups for p in g["params"]} <= alive


def first_steps(model, cohort, steps, lr):
    """Return how far the down columns move in each of the next steps, by unit of learning rate."""
    optimizer, moved = model.link.optimizer, []
    for _ in range(steps):
        before = cohort.down.detach().clone()
        optimizer.zero_grad()
        for parameter in cohort.parameters():
            parameter.grad = torch.ones_like(parameter)
        for parameter in model.base_model.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.ones_like(parameter)
        optimizer.step()
        moved.append(((before - cohort.down).mean() / lr).item())
    return moved


@pytest.mark.parametrize("reserve", [0, 2])
def test_newborns_start_with_a_bias_correction_of_their_own_bug_29(reserve):
    """Zero moments under a step counter of 300 would move them 6.6 times too far."""
    model = toy_growable(reserve_events=reserve, maturation_age=50, train_base="ffn")
    optimizer = toy_optimizer(model, lr=1e-4, weight_decay=0.0)
    first = model.layers[0].block.up.weight
    toy_train(model, optimizer, 3, grow=False)
    for state in optimizer.state.values():
        state["step"].fill_(300.0)
    model.grow({0: torch.arange(3)}, growth_batch=toy_batch())
    moved = first_steps(model, model.layers[0].cohorts[0], 15, lr=1e-4)
    assert moved == pytest.approx([2.0] * 15, rel=1e-2)
    assert optimizer.state[first]["step"] == 315


def test_young_neurons_learn_twice_as_fast_and_mature_ones_do_not_bug_30():
    model = toy_growable(maturation_age=6)
    toy_optimizer(model, lr=1e-4, weight_decay=0.0)
    model.grow({0: torch.arange(3)}, growth_batch=toy_batch())
    moved = first_steps(model, model.layers[0].cohorts[0], 10, lr=1e-4)
    assert moved == pytest.approx([2.0] * 6 + [1.0] * 4, rel=1e-2)


def test_gradients_times_two_do_nothing_under_adam_bug_30():
    updates = []
    for factor in (1.0, 2.0):
        weight = nn.Parameter(torch.zeros(3))
        optimizer = torch.optim.AdamW([weight], lr=0.1)
        weight.grad = factor * torch.ones(3)
        optimizer.step()
        updates.append(weight.detach().clone())
    assert torch.allclose(*updates)


def cosine(optimizer):
    return get_cosine_schedule_with_warmup(optimizer, 5, 40)


@pytest.mark.parametrize("first", ["groups", "scheduler"])
def test_young_rate_follows_the_schedule_bugs_31_32(first):
    model = toy_growable(maturation_age=8)
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=0.01, weight_decay=0.1
    )
    if first == "groups":
        model.attach_optimizer(optimizer)
        scheduler = cosine(optimizer)
    else:
        scheduler = cosine(optimizer)
        model.attach_optimizer(optimizer, scheduler)
    for step in range(30):
        toy_train(model, optimizer, 1, first=step)
        scheduler.step()
        rates = {name: group["lr"] for name, group in groups(optimizer).items()}
        assert rates["young"] == pytest.approx(2 * rates["base"])
        assert rates["mature"] == pytest.approx(rates["base"])
    assert len(scheduler.get_last_lr()) == 3
    fresh = cosine(torch.optim.AdamW(model.param_groups(0.01)))
    fresh.load_state_dict(scheduler.state_dict())
    assert fresh.get_last_lr() == scheduler.get_last_lr()
    assert groups(optimizer)["young"]["params"] and groups(optimizer)["mature"]["params"]


@pytest.mark.parametrize("kind", ["OneCycleLR", "CosineAnnealingLR", "LinearLR"])
def test_other_schedulers_must_come_after_the_groups_bug_31(kind):
    settings = {"OneCycleLR": {"max_lr": 0.1, "total_steps": 50}, "CosineAnnealingLR": {"T_max": 9}}
    make = getattr(torch.optim.lr_scheduler, kind)
    model = toy_growable()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.01)
    scheduler = make(optimizer, **settings.get(kind, {}))
    before = len(optimizer.param_groups)
    for given in (None, scheduler):
        with pytest.raises(ValueError, match="attach_optimizer before you make the scheduler"):
            model.attach_optimizer(optimizer, given)
    assert len(optimizer.param_groups) == before and model.link is None
    other = toy_growable()
    optimizer = toy_optimizer(other)
    scheduler = make(optimizer, **settings.get(kind, {}))
    for step in range(8):
        toy_train(other, optimizer, 1, first=step)
        scheduler.step()


def test_weight_decay_leaves_young_columns_and_empty_room_alone_bug_33():
    model = toy_growable(reserve_events=2, maturation_age=100)
    optimizer = toy_optimizer(model, weight_decay=0.5)
    model.grow({0: torch.arange(2)}, growth_batch=toy_batch())
    with torch.no_grad():
        model.layers[0].cohorts[0].down[:, 0] = 1.0
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert (model.layers[0].cohorts[0].down[:, 0] == 1.0).all()
    toy_train(model, optimizer, 5, grow=False)
    assert not any(p.count_nonzero() for p in model.layers[1].parameters())
    assert model.layers[0].cohorts[0].up[2].count_nonzero() == 0  # the third place is empty


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "rmsprop", "adagrad"])
def test_empty_room_stays_at_exactly_zero_bug_33(name):
    kind, settings = OPTIMIZERS[name]
    model = toy_growable(reserve_events=2)
    settings = settings | {"weight_decay": 0.1}
    optimizer = model.attach_optimizer(kind(model.parameters(), lr=1e-2, **settings))
    toy_train(model, optimizer, 5, grow=False)
    assert not any(p.count_nonzero() for layer in model.layers for p in layer.parameters())
    assert model.born == 0 == model.parameter_counts()["born"]


def test_frozen_means_not_moved_at_all_bug_33():
    model = toy_growable(train_base="none", freeze_mature=True, maturation_age=3)
    optimizer = toy_optimizer(model, weight_decay=0.5)
    base = {n: p.clone() for n, p in model.base_model.named_parameters()}
    toy_train(model, optimizer, 2)
    toy_train(model, optimizer, 6, grow=False)
    grown = [p.detach().clone() for p in model.layers[0].cohorts[0].parameters()]
    assert not model.layers[0].cohorts[0].up.requires_grad
    toy_train(model, optimizer, 2, grow=False)
    assert all(torch.equal(p, base[n]) for n, p in model.base_model.named_parameters())
    kept = zip(grown, model.layers[0].cohorts[0].parameters(), strict=True)
    assert all(torch.equal(old, new) for old, new in kept)


def test_gradients_of_the_old_are_unchanged_by_newborns_bug_38():
    """So clipping by the norm over all changes only by what the newborns themselves add."""
    model = toy_growable()
    loss_for(model).backward()
    before = {n: p.grad.clone() for n, p in model.base_model.named_parameters() if p.requires_grad}
    model.zero_grad()
    grow_everywhere(model, growth_batch=toy_batch())
    loss_for(model).backward()
    after = {n: p.grad for n, p in model.base_model.named_parameters() if p.requires_grad}
    assert all(torch.equal(before[n], after[n]) for n in before)
    assert sum(p.grad.norm() for p in model.layers[0].cohorts[0].parameters()) > 0


def test_what_is_kept_by_parameter_name_still_fits_after_growth_bugs_39_40():
    """A Fisher diagonal or an average of weights, made before, still has each weight's entry."""
    model = toy_growable()
    fisher = {n: torch.ones_like(p) for n, p in model.named_parameters()}
    average = copy.deepcopy(model)
    grow_everywhere(model, growth_batch=toy_batch())
    now = dict(model.named_parameters())
    penalty = sum((fisher[n] * now[n].square()).sum() for n in fisher)
    assert torch.isfinite(penalty)
    newborn = set(now) - set(fisher)
    assert newborn and all(name.startswith("layers.") for name in newborn)
    average.load_state_dict(model.state_dict())
    assert torch.equal(loss_for(average), loss_for(model))


def test_optimizers_that_factor_their_state_cannot_clear_single_neurons():
    weight = nn.Parameter(torch.randn(8, 8))
    optimizer = torch.optim.Adafactor([weight])
    weight.sum().backward()
    optimizer.step()
    with pytest.raises(ValueError, match="cannot be cleared for one neuron; use AdamW"):
        shaped_state(optimizer, weight)
    with pytest.raises(TypeError, match=r"must be a torch.optim.Optimizer, got list"):
        OptimizerLink([], 2.0)


def test_clearing_state_can_be_undone():
    weight = nn.Parameter(torch.randn(4, 3))
    optimizer = torch.optim.AdamW([weight], amsgrad=True)
    weight.square().sum().backward()
    optimizer.step()
    before = {n: v.clone() for n, v in optimizer.state[weight].items()}
    undo = clear_state(optimizer, weight, (slice(None), torch.tensor([1])))
    assert optimizer.state[weight]["exp_avg"][:, 1].count_nonzero() == 0
    assert optimizer.state[weight]["exp_avg"][:, 0].count_nonzero() == 4
    for tensor, index, value in undo:
        tensor[index] = value
    assert all(torch.equal(optimizer.state[weight][n], v) for n, v in before.items())


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_split_neurons_take_their_moments_along(kind):
    model = get_growable_model(toy_model(kind), fast_config(init="split"))
    optimizer = toy_optimizer(model)
    toy_train(model, optimizer, 4, grow=False)
    layer = model.layers[0]
    model.grow({0: torch.tensor([5, 2])})
    turned = kind == "gpt2"
    for part, new, columns in (
        (layer.block.up, layer.cohorts[0].up, False),
        (layer.block.down, layer.cohorts[0].down, True),
    ):
        old = optimizer.state[part.weight]["exp_avg"]
        old = old.T if turned else old
        chosen = old[:, [5, 2]] if columns else old[[5, 2]]
        assert torch.equal(optimizer.state[new]["exp_avg"], chosen)
        assert optimizer.state[new]["step"] == 4
    toy_train(model, optimizer, 2, grow=False)
    assert optimizer.state[layer.block.up.weight]["step"] == 6
    assert optimizer.state[layer.cohorts[0].up]["step"] == 6
