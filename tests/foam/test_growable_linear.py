"""`GrowableLinear` by itself: loaded states, fused optimizers, chains that grow close together."""

import copy
from itertools import pairwise

import pytest
import torch
from torch import nn

from plasticity.foam import GrowableLinear, GrowthConfig, GrowthSkipped


def chain(*sizes: int, **settings):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [GrowableLinear(a, b, **settings) for a, b in pairwise(sizes)]
    for layer, reader in pairwise(layers):
        layer.link(reader)
    network = nn.Sequential(*(part for layer in layers for part in (layer, nn.Tanh())))
    return layers, network


def step(network, optimizer) -> None:
    inputs = torch.randn(30, network[0].in_features, generator=torch.Generator().manual_seed(1))
    optimizer.zero_grad()
    (network(inputs) - 0.5).square().mean().backward()
    optimizer.step()


def grown(same_widths: bool = True):
    """Return a chain that has grown, its optimizer, and a state of the same widths or others."""
    (first, second), network = chain(4, 8, 2)
    optimizer = first.attach_optimizer(torch.optim.AdamW(network.parameters(), 0.01))
    step(network, optimizer)
    before = copy.deepcopy(network.state_dict())
    first.perform_growth(torch.tensor([0, 5]))
    step(network, optimizer)
    state = copy.deepcopy(network.state_dict()) if same_widths else before
    return first, second, network, optimizer, state


def test_newborns_go_on_learning_after_a_state_is_loaded():
    first, second, network, optimizer, state = grown()
    order = [id(p) for group in optimizer.param_groups for p in group["params"]]
    network.load_state_dict(state)
    assert [id(p) for group in optimizer.param_groups for p in group["params"]] == order
    before = [block.weight.clone() for block in (*first.blocks, *second.blocks)]
    step(network, optimizer)
    after = [block.weight for block in (*first.blocks, *second.blocks)]
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("age", [0, 2, 9])
def test_newborns_and_the_columns_that_read_them_come_of_age_together(age):
    (first, second), network = chain(4, 8, 2, maturation_age=age)
    optimizer = first.attach_optimizer(torch.optim.AdamW(network.parameters(), 0.01))
    step(network, optimizer)
    first.perform_growth(torch.tensor([0, 5]))
    for _ in range(4):
        step(network, optimizer)

    def rates():
        grown = [p for block in (*first.blocks, *second.blocks) for p in block.parameters()]
        own = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
        return {own[id(p)] for p in grown}

    assert rates() == {0.01 if age < 4 else 0.02}
    network.load_state_dict(copy.deepcopy(network.state_dict()))
    assert rates() == {0.01 if age < 4 else 0.02}


@pytest.mark.parametrize("age", [0, 2])
def test_a_state_from_between_an_event_and_the_next_step_can_be_resumed(age):
    def made():
        layers, network = chain(4, 8, 2, maturation_age=age)
        return layers[0], network, torch.optim.AdamW(network.parameters(), 0.01)

    first, network, optimizer = made()
    first.attach_optimizer(optimizer)
    step(network, optimizer)
    first.perform_growth(torch.tensor([0, 5]))
    again, other, resumed = made()
    again.attach_optimizer(resumed)
    other.load_state_dict(network.state_dict())
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for _ in range(3):
        step(network, optimizer)
        step(other, resumed)
    both = zip(network.parameters(), other.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in both)


def test_rows_born_before_there_was_a_reader_have_no_columns_that_come_of_age():
    layer, reader = GrowableLinear(4, 8, maturation_age=2), GrowableLinear(10, 2)
    optimizer = layer.attach_optimizer(torch.optim.AdamW([*layer.parameters()], 0.01))
    with pytest.warns(UserWarning, match="no consumer"):
        layer.perform_growth(torch.tensor([0, 1]))
    layer.link(reader)
    optimizer.add_param_group({"params": [*reader.parameters()]})
    network = nn.Sequential(layer, nn.Tanh(), reader)
    step(network, optimizer)
    layer.perform_growth(torch.tensor([2]))

    def mature():
        group = next(g for g in optimizer.param_groups if g.get("growth") == "mature")
        return {id(p) for p in group["params"]}

    step(network, optimizer)
    assert mature() == {id(p) for p in layer.blocks[0].parameters()}
    step(network, optimizer)
    assert id(reader.blocks[0].weight) in mature()


def test_copies_that_cannot_be_told_apart_are_not_born():
    config = GrowthConfig(init="copy_noise", noise=0.0, orthogonalize="newborns")
    layer, reader = GrowableLinear(4, 8, config=config), GrowableLinear(8, 2)
    layer.link(reader)
    with pytest.raises(GrowthSkipped, match="leave nothing of a candidate"):
        layer.perform_growth(torch.tensor([3, 3]))
    assert layer.out_features == reader.in_features == 8


def test_state_of_other_widths_brings_blocks_that_learn_and_leaves_no_orphans():
    first, second, network, optimizer, narrow = grown(same_widths=False)
    wide = copy.deepcopy(network.state_dict())
    network.load_state_dict(narrow)
    assert first.out_features == 8 and second.in_features == 8
    known = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert {id(p) for p in optimizer.state} <= known
    optimizer.state_dict()
    step(network, optimizer)
    network.load_state_dict(wide)
    before = [block.weight.clone() for block in (*first.blocks, *second.blocks)]
    step(network, optimizer)
    after = [block.weight for block in (*first.blocks, *second.blocks)]
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("fused", [False, True])
def test_attached_optimizer_counts_its_steps(fused, frozen):
    (first, _), network = chain(4, 8, 2, growth_cooldown=3)
    optimizer = torch.optim.AdamW(network.parameters(), 0.001, fused=fused)
    first.attach_optimizer(optimizer)
    step(network, optimizer)
    first.perform_growth(torch.tensor([1]))
    first.weight.requires_grad_(not frozen)
    for _ in range(4):
        step(network, optimizer)
    assert int(first.clock.steps) == 5
    assert first.neuron_age[-1] == 4


def test_second_optimizer_takes_over_from_the_first():
    (first, _), network = chain(4, 8, 2)
    old = first.attach_optimizer(torch.optim.SGD(network.parameters(), 0.0))
    new = first.attach_optimizer(torch.optim.AdamW(network.parameters(), 0.01, fused=True))
    network(torch.randn(3, 4)).sum().backward()
    old.step()
    assert int(first.clock.steps) == 0 and first.norms
    new.step()
    assert int(first.clock.steps) == 1


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (2, 1), (1, 2)])
def test_neighbours_may_grow_within_few_steps(order):
    layers, network = chain(4, 8, 8, 8, 2, growth_cooldown=2)
    optimizer = torch.optim.AdamW(network.parameters(), 0.01)
    for layer in layers[:-1]:
        layer.attach_optimizer(optimizer)
    for number in range(7):
        step(network, optimizer)
        if number in (4, 6):  # the second grows two steps later
            layer = layers[order[number // 2 - 2]]
            result = layer.perform_growth(torch.tensor([0, 1]))
            assert result["born"] == 2 and result["init"] == "gradmax"
    step(network, optimizer)
    assert [layers[number].out_features for number in order] == [10, 10]


def test_passes_of_other_widths_are_not_joined_after_a_state_is_loaded():
    layers, network = chain(4, 8, 8, 2, growth_cooldown=1)
    optimizer = torch.optim.AdamW(network.parameters(), 0.01)
    for layer in layers[:-1]:
        layer.attach_optimizer(optimizer)
    step(network, optimizer)
    narrow = copy.deepcopy(network.state_dict())
    step(network, optimizer)
    layers[1].perform_growth(torch.tensor([0]))
    step(network, optimizer)
    network.load_state_dict(narrow)
    step(network, optimizer)
    assert layers[0].perform_growth(torch.tensor([0]))["born"] == 1


def test_training_goes_on_bit_for_bit_from_a_checkpoint_of_several_events():
    def start():
        layers, network = chain(4, 4, 4, 4, bias=False)
        optimizer = torch.optim.AdamW(network.parameters(), 0.01)
        for layer in layers[:-1]:
            layer.attach_optimizer(optimizer)
        return layers, network, optimizer

    layers, network, optimizer = start()
    for number in (1, 0, 1, 0):
        step(network, optimizer)
        layers[number].perform_growth(torch.tensor([0, 1]))
    step(network, optimizer)
    state = copy.deepcopy((network.state_dict(), optimizer.state_dict()))
    _, again, resumed = start()
    again.load_state_dict(state[0])
    resumed.load_state_dict(state[1])
    for _ in range(3):
        step(network, optimizer)
        step(again, resumed)
    assert all(
        torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True)
    )


def test_checkpoint_without_the_order_of_births_can_be_read():
    first, _, network, _, state = grown()
    old = {name: value for name, value in state.items() if not name.endswith(".order")}
    assert len(old) < len(state)
    network.load_state_dict(old)
    assert first.out_features == 10


def test_deep_copy_counts_the_steps_of_its_own_optimizer():
    (first, _), network = chain(4, 8, 2)
    first.attach_optimizer(torch.optim.AdamW(network.parameters(), 0.01, fused=True))
    step(network, first.optimizer_link.optimizer)
    twin = copy.deepcopy(network)
    step(twin, twin[0].optimizer_link.optimizer)
    assert (int(first.clock.steps), int(twin[0].clock.steps)) == (1, 2)


def test_steps_that_were_skipped_do_not_count():
    (first, _), network = chain(4, 8, 2)
    optimizer = first.attach_optimizer(torch.optim.AdamW(network.parameters(), 0.01, fused=True))
    step(network, optimizer)
    optimizer.found_inf = torch.tensor(1.0)
    step(network, optimizer)
    assert int(first.clock.steps) == 1
