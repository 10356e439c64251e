"""Bases in 4 and 8 bits, and 8-bit Adam; skipped where bitsandbytes is not installed.

Bugs of the specification guarded here: 34, 36 and 37. 35, columns that shift the blocks of an 8-bit
state, cannot happen: no parameter of the base ever changes its shape.
"""

import pytest
import torch
from foam_toys import fast_config, grow_everywhere, loss_for, toy_batch, toy_model, toy_train
from torch import nn

from plasticity.foam.feed_forward import weight_of
from plasticity.foam.model import get_growable_model
from plasticity.foam.optimizers import clear_state, zero_of

bitsandbytes = pytest.importorskip("bitsandbytes")


@pytest.fixture(autouse=True)
def no_old_overrides():
    """Forget what bitsandbytes keeps by the address of parameters that are gone."""
    bitsandbytes.optim.GlobalOptimManager.get_instance().initialize()


def quantised_model(bits: int) -> nn.Module:
    model = toy_model("llama")
    for block in model.model.layers:
        for name in ("gate_proj", "up_proj", "down_proj"):
            old = getattr(block.mlp, name)
            if bits == 4:
                new = bitsandbytes.nn.Linear4bit(
                    old.in_features,
                    old.out_features,
                    bias=False,
                    compute_dtype=torch.float32,
                    quant_type="nf4",
                )
            else:
                new = bitsandbytes.nn.Linear8bitLt(
                    old.in_features, old.out_features, bias=False, has_fp16_weights=False
                )
            new.load_state_dict(old.state_dict())
            setattr(block.mlp, name, new.to("cpu"))
    return model


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("bits", [4, 8])
def test_weights_are_read_as_the_layer_computes_with_them(bits):
    torch.manual_seed(0)
    plain = nn.Linear(64, 96, bias=False)
    kind = bitsandbytes.nn.Linear4bit if bits == 4 else bitsandbytes.nn.Linear8bitLt
    settings = {"compute_dtype": torch.float32} if bits == 4 else {"has_fp16_weights": False}
    layer = kind(64, 96, bias=False, **settings)
    layer.load_state_dict(plain.state_dict())
    layer = layer.to("cpu")
    unit = torch.eye(64)
    for mode in (True, False):  # in evaluation, some CPUs keep 4-bit weights in another order
        computed = layer.train(mode)(unit)
        assert torch.allclose(weight_of(layer).T, computed, atol=1e-2)
        assert torch.allclose(weight_of(layer), plain.weight, atol=0.03)


def eight_bit(model, lr=0.01):
    return model.attach_optimizer(
        bitsandbytes.optim.AdamW8bit(model.param_groups(lr), min_8bit_size=64)
    )


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_newborns_on_a_quantised_base(bits, tmp_path):
    model = get_growable_model(quantised_model(bits), fast_config(train_base="none"))
    before = loss_for(model).item()
    assert grow_everywhere(model, growth_batch=toy_batch()).born == 6
    assert loss_for(model).item() == before
    toy_train(model, eight_bit(model), 8)
    after = loss_for(model).item()
    assert after < before
    with model.disable_growth():
        assert loss_for(model).item() == before
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(quantised_model(bits), tmp_path)
    assert loss_for(again).item() == after
    merged = model.merge_and_unload()
    assert isinstance(merged.model.layers[0].mlp.down_proj, nn.Linear)
    assert merged.model.layers[0].mlp.down_proj.weight.is_floating_point()
    assert loss_for(merged).item() == pytest.approx(after, rel=1e-2)


def test_eight_bit_adam_keeps_newborns_in_full_and_old_moments_bugs_36_37():
    model = get_growable_model(toy_model(), fast_config())
    optimizer = eight_bit(model)
    toy_train(model, optimizer, 3, grow=False)
    weight = model.layers[0].block.up.weight
    assert optimizer.state[weight]["state1"].dtype == torch.uint8
    moments = optimizer.state[weight]["state1"]
    grow_everywhere(model, growth_batch=toy_batch())
    assert optimizer.state[weight]["state1"] is moments
    toy_train(model, optimizer, 2, grow=False)
    newborn = optimizer.state[model.layers[0].cohorts[0].up]
    assert newborn["state1"].dtype == torch.float32 and newborn["step"] == 2
    assert optimizer.state[weight]["state1"].dtype == torch.uint8
    other = optimizer.state[model.layers[1].block.down.weight]
    assert other["state1"].dtype == torch.uint8


def test_zero_has_its_own_code_in_eight_bits_bug_34():
    """Zero bytes would be momentum of almost -1."""
    weight = nn.Parameter(torch.randn(32, 16))
    optimizer = bitsandbytes.optim.AdamW8bit([weight], lr=0.01, min_8bit_size=64)
    weight.square().sum().backward()
    optimizer.step()
    state = optimizer.state[weight]
    assert state["qmap1"][zero_of(state, "state1")] == 0 == state["qmap2"][zero_of(state, "state2")]
    with torch.no_grad():
        weight[3] = 0
    clear_state(optimizer, weight, torch.tensor([3]))
    weight.grad = torch.zeros_like(weight)
    others = weight[4].clone()
    optimizer.step()
    assert weight[3].abs().max() == 0
    assert not torch.equal(weight[4], others)
