"""An event changes nothing, bit for bit; what it adds can be switched off, and folded in.

Bugs of the specification guarded here: 17, 18, 19, 21, 22, 55, 64 and 65.
"""

import copy

import pytest
import torch
from foam_toys import (
    KINDS,
    TRANSFORMERS,
    fast_config,
    grow_everywhere,
    growth_batch,
    loss_for,
    toy_batch,
    toy_growable,
    toy_model,
    toy_optimizer,
    toy_train,
)

from plasticity.foam import get_growable_model
from plasticity.foam.initializers import GrowthSkipped


def outputs(model, train: bool, mask: bool) -> torch.Tensor:
    model.train(train)
    batch = toy_batch()
    if mask:
        batch["attention_mask"][:, :3] = 0
    else:
        del batch["attention_mask"]
    return model(**batch).logits


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("init", ["gradmax", "copy_noise", "random"])
def test_an_event_leaves_the_loss_bit_equal_bug_17(kind, init):
    model = toy_growable(kind, init=init)
    before = loss_for(model)
    result = grow_everywhere(model, growth_batch=growth_batch(model))
    assert result.born == 3 * len(model.layers)
    assert torch.equal(loss_for(model), before)
    assert result.loss_after == result.loss_before


@pytest.mark.parametrize("zero", ["down", "up", "gate"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_are_bit_equal_in_every_mode_bug_17(zero, dtype):
    modes = [(train, mask) for train in (True, False) for mask in (True, False)]
    model = toy_growable(zero=zero, dtype=dtype)
    before = [outputs(model, *mode) for mode in modes]
    grow_everywhere(model, growth_batch=toy_batch())
    grow_everywhere(model, growth_batch=toy_batch(seed=1))
    after = [outputs(model, *mode) for mode in modes]
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_an_event_after_training_leaves_the_loss_bit_equal_too(kind):
    model = toy_growable(kind)
    optimizer = toy_optimizer(model)
    for count in (3, 17, 30):
        before = loss_for(model)
        grow_everywhere(model, count=count, growth_batch=growth_batch(model))
        assert torch.equal(loss_for(model), before)
        toy_train(model, optimizer, 3)
        assert not torch.equal(loss_for(model), before)


@pytest.mark.parametrize("kind", KINDS)
def test_cohorts_share_products_from_their_first_step_on(kind):
    model = toy_growable(kind)
    optimizer = toy_optimizer(model)
    layer = model.layers[0]
    for number in (1, 2):
        grow_everywhere(model, growth_batch=growth_batch(model))
        grow_everywhere(model, growth_batch=growth_batch(model))
        assert [len(group) for group in layer._groups()][-2:] == [1, 1]  # newborns by themselves
        toy_train(model, optimizer, 1, grow=False)
        assert [len(group) for group in layer._groups()] == [2 * number]
    shared = loss_for(model)
    for each in model.layers:
        each.together = 0
    torch.testing.assert_close(loss_for(model), shared)


@pytest.mark.parametrize("kind", KINDS)
def test_products_are_shared_alike_in_copies_and_after_loading(kind):
    model = toy_growable(kind)
    optimizer = toy_optimizer(model)
    toy_train(model, optimizer, 4)
    grow_everywhere(model, growth_batch=growth_batch(model))
    assert 0 < model.layers[0].together < len(model.layers[0].cohorts)
    again = toy_growable(kind, seed=1)
    again.load_state_dict(model.state_dict())
    for other in (again, copy.deepcopy(model)):
        assert [each.together for each in other.layers] == [e.together for e in model.layers]
        assert torch.equal(loss_for(other), loss_for(model))


def test_reserved_room_shares_products_from_the_start():
    model = toy_growable(reserve_events=3)
    optimizer = toy_optimizer(model)
    for _ in range(3):
        assert [len(group) for group in model.layers[0]._groups()] == [3]
        before = loss_for(model)
        grow_everywhere(model, growth_batch=growth_batch(model))
        assert torch.equal(loss_for(model), before)
        toy_train(model, optimizer, 2, grow=False)


class InFull(torch.nn.Module):
    """A block in float32 whatever autocast says, whose activation is too."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = torch.nn.Linear(16, 24), torch.nn.Linear(24, 16)
        self.act = lambda values: torch.nn.functional.gelu(values.float())

    def forward(self, inputs):
        with torch.autocast("cpu", enabled=False):
            return self.fc2(self.act(self.fc1(inputs)))


def test_an_event_under_autocast_leaves_a_block_in_float32_alone():
    torch.manual_seed(0)
    model = get_growable_model(InFull(), fast_config(init="random"))
    inputs = torch.randn(5, 7, 16)
    with torch.autocast("cpu", torch.bfloat16):
        before = model(inputs)
        model.grow({0: torch.arange(3)})
        assert before.dtype == torch.float32 and torch.equal(model(inputs), before)


@pytest.mark.parametrize("biased", ["gate_proj", "up_proj"])
def test_one_of_two_rows_may_have_a_bias(biased):
    base = toy_model("llama")
    for module in base.modules():
        if hasattr(module, biased):
            old = getattr(module, biased)
            new = torch.nn.Linear(old.in_features, old.out_features)
            new.weight = old.weight
            setattr(module, biased, new)
    model = get_growable_model(base, fast_config(init="copy_noise", noise=0.0, zero="down"))
    before = loss_for(model)
    grow_everywhere(model, growth_batch=growth_batch(model))
    assert torch.equal(loss_for(model), before)
    layer = model.layers[0]
    hidden = layer.hidden(torch.randn(5, layer.block.size))
    assert hidden.shape == (5, 3) and torch.isfinite(hidden).all()
    toy_train(model, toy_optimizer(model), 2)
    merged_loss = loss_for(model)
    torch.testing.assert_close(loss_for(model.merge_and_unload()), merged_loss)


@pytest.mark.parametrize("init", ["split", "pair"])
def test_split_and_pair_preserve_up_to_rounding_bug_17(init):
    for kind in ("llama", "llama_bias", "gpt2", "mlp"):
        model = toy_growable(kind, init=init)
        before = loss_for(model).item()
        grow_everywhere(model, count=4)
        assert loss_for(model).item() == pytest.approx(before, rel=1e-6)


def test_generation_goes_on_across_an_event_bug_55():
    model = toy_growable("llama").eval()
    ids = toy_batch()["input_ids"]
    with torch.no_grad():
        cached = model(input_ids=ids[:, :6], use_cache=True)
        expected = model(input_ids=ids[:, 6:7], past_key_values=cached.past_key_values).logits
        cached = model(input_ids=ids[:, :6], use_cache=True)
    grow_everywhere(model, growth_batch=toy_batch())
    with torch.no_grad():
        found = model(input_ids=ids[:, 6:7], past_key_values=cached.past_key_values).logits
    assert torch.equal(found, expected)
    tokens = model.generate(input_ids=ids, max_new_tokens=4, do_sample=False)
    assert tokens.shape[1] > ids.shape[1]


@pytest.mark.parametrize("kind", KINDS)
def test_newborns_learn_and_old_outputs_can_be_had_back_bug_65(kind):
    model = toy_growable(kind, train_base="none")
    before = loss_for(model).item()
    optimizer = toy_optimizer(model)
    grow_everywhere(model, growth_batch=growth_batch(model))
    toy_train(model, optimizer, steps=5, grow=False)
    assert loss_for(model).item() != before
    with model.disable_growth():
        assert loss_for(model).item() == before
    assert loss_for(model).item() != before
    fresh = toy_model(kind).state_dict()
    assert all(torch.equal(t, fresh[n]) for n, t in model.unload().state_dict().items())


@pytest.mark.parametrize("kind", KINDS)
def test_merged_model_is_plain_and_computes_the_same_bugs_18_19_21(kind, tmp_path):
    model = toy_growable(kind)
    optimizer = toy_optimizer(model)
    toy_train(model, optimizer, steps=8)
    assert model.born > 0
    expected = loss_for(model).item()
    merged = model.merge_and_unload(pad_to_multiple_of=8)
    assert loss_for(merged).item() == pytest.approx(expected, rel=1e-6)
    if kind in TRANSFORMERS:
        merged.save_pretrained(tmp_path)
        again = type(merged).from_pretrained(tmp_path)
        assert loss_for(again.train()).item() == loss_for(merged).item()


def test_layers_of_different_widths_are_merged_to_one_width():
    model = toy_growable("llama")
    model.grow({1: torch.arange(5)}, growth_batch=toy_batch())
    toy_train(model, toy_optimizer(model), steps=3, grow=False)
    expected = loss_for(model).item()
    merged = model.merge_and_unload(pad_to_multiple_of=16)
    assert merged.config.intermediate_size == 32
    assert loss_for(merged).item() == pytest.approx(expected, rel=1e-6)


def test_merging_in_bfloat16_keeps_every_weight_bug_64():
    model = toy_growable("llama", dtype=torch.bfloat16)
    toy_train(model, toy_optimizer(model), steps=6)
    rows = [layer.rows("up")[layer.neurons.active].clone() for layer in model.layers]
    merged = model.merge_and_unload()
    for layer, old in zip(merged.model.layers, rows, strict=True):
        assert layer.mlp.up_proj.weight.dtype == torch.bfloat16
        assert torch.equal(layer.mlp.up_proj.weight[: len(old)], old)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_newborns_take_over_type_and_leave_frozen_frozen_bug_22(dtype):
    model = toy_growable("gpt2", dtype=dtype, train_base="none")
    grow_everywhere(model, growth_batch=toy_batch())
    assert {p.dtype for layer in model.layers for p in layer.parameters()} == {dtype}
    assert not any(p.requires_grad for p in model.base_model.parameters())
    assert all(p.requires_grad for layer in model.layers for p in layer.parameters())


def test_a_part_that_was_frozen_is_not_thawed_bug_22():
    base = toy_model("llama")
    base.model.layers[0].mlp.up_proj.weight.requires_grad_(False)
    from plasticity.foam.model import get_growable_model

    model = get_growable_model(base)
    assert not base.model.layers[0].mlp.up_proj.weight.requires_grad
    assert base.model.layers[1].mlp.up_proj.weight.requires_grad
    assert not base.model.layers[0].self_attn.q_proj.weight.requires_grad
    assert model.parameter_counts()["born"] == 0


def test_a_failed_event_leaves_everything_as_it_was(monkeypatch):
    model = toy_growable("llama", enable_replacement=True)
    optimizer = toy_optimizer(model)
    toy_train(model, optimizer, steps=6)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    groups = [[id(p) for p in group["params"]] for group in optimizer.param_groups]
    state = set(map(id, optimizer.state))
    batch = toy_batch()

    def broken(*arguments):
        raise GrowthSkipped("on purpose")

    monkeypatch.setattr("plasticity.foam.events.evaluate", broken)
    with pytest.raises(GrowthSkipped, match="on purpose"):
        grow_everywhere(model, growth_batch=batch)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert groups == [[id(p) for p in group["params"]] for group in optimizer.param_groups]
    assert state == set(map(id, optimizer.state))
    toy_train(model, optimizer, steps=2)
