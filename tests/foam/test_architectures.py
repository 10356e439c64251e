"""Which models can grow, and what is said about those that cannot.

Bugs of the specification guarded here: 18, 20, 23 and 24.
"""

import pytest
import torch
from foam_toys import KINDS, SIZES, grow_everywhere, growth_batch, toy_growable, toy_model
from torch import nn
from transformers import BitNetConfig, OPTConfig, OPTForCausalLM, Phi3Config, Phi3ForCausalLM
from transformers.models.bitnet.modeling_bitnet import BitNetForCausalLM

from plasticity.foam import GrowthConfig, UnsupportedArchitecture, get_growable_model
from plasticity.foam.feed_forward import find_blocks


@pytest.mark.parametrize("kind", KINDS)
def test_every_block_is_found_once(kind):
    blocks = find_blocks(toy_model(kind), GrowthConfig())
    assert len(blocks) == (1 if kind == "mlp" else 2)
    assert {(block.size, block.width) for block in blocks} == {(16, 24)}
    assert all((block.gate is None) == (kind in ("gpt2", "mlp")) for block in blocks)


@pytest.mark.parametrize("kind", KINDS)
def test_a_neuron_is_a_row_and_a_column_in_any_layout_bug_18(kind):
    """Output of the block, neuron by neuron, whatever way its weights lie."""
    model = toy_growable(kind)
    grow_everywhere(model, growth_batch=growth_batch(model))
    layer = model.layers[0]
    with torch.no_grad():
        layer.cohorts[0].down.normal_()
    block = layer.block
    x = torch.randn(5, 16)
    biases = [
        0 if part.bias is None else torch.cat([part.bias.detach(), layer.joined(f"{name}_bias")])
        for name, part in (("gate", block.gate), ("up", block.up))
        if part is not None
    ]
    hidden = x @ layer.rows("up").T + biases[-1]
    if block.gate is None:
        hidden = block.activation(hidden)
    else:
        hidden = block.activation(x @ layer.rows("gate").T + biases[0]) * hidden
    expected = hidden @ layer.rows("down") + (0 if block.down.bias is None else block.down.bias)
    assert torch.allclose(block.module(x[None])[0], expected, atol=1e-5)


def test_fused_gate_and_up_are_refused_bug_20():
    model = Phi3ForCausalLM(Phi3Config(**SIZES))
    with pytest.raises(UnsupportedArchitecture, match="split it into gate_proj and up_proj"):
        get_growable_model(model)


def test_a_norm_over_neurons_is_refused():
    with pytest.raises(UnsupportedArchitecture, match="ffn_sub_norm normalises over the neurons"):
        get_growable_model(BitNetForCausalLM(BitNetConfig(**SIZES)))


def test_a_block_that_is_not_a_module_of_its_own_is_not_taken_for_one():
    """OPT's fc1 and fc2 lie in its decoder layer, beside attention."""
    sizes = {"vocab_size": 40, "hidden_size": 16, "ffn_dim": 24, "num_hidden_layers": 1}
    model = OPTForCausalLM(OPTConfig(**sizes, num_attention_heads=2, word_embed_proj_dim=16))
    with pytest.raises(UnsupportedArchitecture, match="no feed-forward block found"):
        get_growable_model(model)


class Scaled(nn.Module):
    """Looks like a gated block, and is not one."""

    def __init__(self):
        super().__init__()
        self.gate_proj, self.up_proj = nn.Linear(4, 8), nn.Linear(4, 8)
        self.down_proj, self.act_fn = nn.Linear(8, 4), nn.SiLU()

    def forward(self, x):
        return 3 * self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))


class NoActivation(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(4, 8), nn.Linear(8, 4)

    def forward(self, x):
        return self.fc2(self.fc1(x).relu())


def test_blocks_are_run_before_they_are_believed():
    with pytest.raises(UnsupportedArchitecture, match="computes something else"):
        get_growable_model(Scaled())
    with pytest.raises(UnsupportedArchitecture, match="no activation under any of"):
        get_growable_model(NoActivation())


def test_shared_weights_are_refused_and_shared_modules_grow_once_bugs_23_24():
    model = toy_model("llama")
    model.model.layers[1].mlp.up_proj.weight = model.model.layers[0].mlp.up_proj.weight
    with pytest.raises(UnsupportedArchitecture, match=r"share a weight.*untie them"):
        get_growable_model(model)
    mlp = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))
    mlp[2].weight = nn.Parameter(mlp[0].weight.T.contiguous())
    mlp[0].weight = mlp[2].weight
    with pytest.raises((UnsupportedArchitecture, RuntimeError)):
        get_growable_model(mlp)
    model = toy_model("llama")
    model.model.layers[1].mlp = model.model.layers[0].mlp
    growable = get_growable_model(model, GrowthConfig(init="random"))
    assert len(growable.layers) == 1
    assert growable.grow({0: torch.tensor([1])}).born == 1


def test_wrapping_twice_is_refused_and_unloading_makes_it_possible_bug_24():
    model = toy_model("llama")
    growable = get_growable_model(model)
    for again in (model, growable):
        with pytest.raises(ValueError, match="growable already"):
            get_growable_model(again)
    assert growable.unload() is model
    assert not model.model.layers[0].mlp._forward_hooks
    get_growable_model(model)


def test_blocks_can_be_chosen():
    model = toy_model("llama")
    chosen = GrowthConfig(layers_to_transform=[1])
    assert [b.name for b in find_blocks(model, chosen)] == ["model.layers.1.mlp"]
    for target in ("mlp", r"model\.layers\.\d\.mlp", ["mlp"], ["0.mlp", "1.mlp"]):
        assert len(find_blocks(model, GrowthConfig(target_modules=target))) == 2
    assert len(find_blocks(model, GrowthConfig(target_modules=["0.mlp"]))) == 1
    with pytest.raises(UnsupportedArchitecture, match="no feed-forward block"):
        find_blocks(model, GrowthConfig(target_modules="attention"))


def test_merging_a_part_of_the_blocks_is_refused_with_the_way_out():
    model = get_growable_model(toy_model(), GrowthConfig(layers_to_transform=[0], init="random"))
    model.grow({0: torch.tensor([1])})
    with pytest.raises(ValueError, match="layers_to_transform=None"):
        model.merge_and_unload()
    with pytest.raises(ValueError, match="at least 1, got 0"):
        model.merge_and_unload(pad_to_multiple_of=0)
