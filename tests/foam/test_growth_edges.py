"""Models at the edge of what can grow: other shapes, odd activations, loaded states, copies."""

import copy

import pytest
import torch
import transformers
from foam_toys import (
    fast_config,
    grow_everywhere,
    toy_batch,
    toy_growable,
    toy_model,
    toy_optimizer,
    toy_train,
    toy_trainer,
)
from torch import nn

from plasticity.foam import (
    GrowableModel,
    GrowthConfig,
    GrowthSkipped,
    OtherBase,
    UnsupportedArchitecture,
    get_growable_model,
)


@pytest.mark.parametrize("outputs", [1, 2, 30])
@pytest.mark.parametrize("init", ["gradmax", "random", "copy_noise", "split", "pair"])
def test_plain_network_may_have_as_many_outputs_as_it_likes(outputs, init, tmp_path):
    base = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, outputs))
    model = get_growable_model(copy.deepcopy(base), fast_config(init=init))
    inputs = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    target = torch.randn(30, outputs, generator=torch.Generator().manual_seed(1))

    def loss(network):
        return (network(inputs) - target).square().mean()

    optimizer = toy_optimizer(model)
    loss(model).backward()
    optimizer.step()
    before = model(inputs)
    result = model.grow({0: torch.tensor([1, 2, 3, 4])}, growth_batch=loss)
    assert result.born == 4
    exact = init not in ("split", "pair")
    assert (
        torch.equal(model(inputs), before)
        if exact
        else torch.allclose(model(inputs), before, atol=1e-6)
    )
    newborn, born = model.layers[0].cohorts[0], len(optimizer.state)
    old = [p.detach().clone() for p in newborn.parameters()]
    for _ in range(3):
        optimizer.zero_grad()
        loss(model).backward()
        optimizer.step()
    assert len(optimizer.state) > born or init == "split"
    assert any(not torch.equal(a, b) for a, b in zip(old, newborn.parameters(), strict=True))
    model.save_pretrained(tmp_path)
    again = GrowableModel.from_pretrained(copy.deepcopy(base), tmp_path)
    assert torch.equal(again(inputs), model(inputs))
    after = model(inputs)
    assert torch.allclose(model.merge_and_unload()(inputs), after, atol=1e-6)


class Centred(nn.Module):
    def forward(self, inputs):
        return inputs - inputs.mean(-1, keepdim=True)


@pytest.mark.parametrize(
    "activation",
    [nn.Softmax(-1), nn.Softmax(2), nn.Softmax(3), Centred(), nn.LayerNorm(8), nn.BatchNorm1d(8),
     nn.PReLU(8)],
)  # fmt: skip
def test_activation_that_mixes_neurons_is_refused(activation):
    network = nn.Sequential(nn.Linear(4, 8), activation, nn.Linear(8, 4))
    with pytest.raises(UnsupportedArchitecture, match=r"does not act on each neuron by itself"):
        get_growable_model(network)
    assert network.training and activation.training


class Unpacks(nn.Module):
    def forward(self, inputs):
        _, _, _ = inputs.shape
        return inputs.relu()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "activation", [nn.ReLU(inplace=True), nn.SiLU(inplace=True), nn.PReLU(), nn.Tanh(), Unpacks()]
)
@pytest.mark.parametrize("room", [{"reserve_events": 1}, {"pad_multiple": 4}])
def test_elementwise_activations_grow_in_silent_room(activation, dtype, room):
    network = nn.Sequential(nn.Linear(4, 8), copy.deepcopy(activation), nn.Linear(8, 4)).to(dtype)
    model = get_growable_model(network, GrowthConfig(init="random", **room))
    inputs = torch.randn(2, 3, 4).to(dtype)
    before = model(inputs)
    model.grow({0: torch.tensor([0, 1])})
    assert torch.equal(model(inputs), before)


@pytest.mark.parametrize("room", [{"reserve_events": 2}, {"pad_multiple": 4}])
def test_room_must_be_silent(room):
    network = nn.Sequential(nn.Linear(4, 8), nn.Sigmoid(), nn.Linear(8, 4))
    with pytest.raises(ValueError, match=f"{next(iter(room))}=.*f\\(0\\) = 0, got 0.5"):
        get_growable_model(network, GrowthConfig(init="random", train_base="none", **room))
    assert not network._forward_hooks and all(p.requires_grad for p in network.parameters())
    assert get_growable_model(network, GrowthConfig(init="random")).born == 0


def test_trainer_evaluates_and_keeps_the_best(tmp_path):
    model = toy_growable()
    trainer = toy_trainer(
        model, tmp_path, max_steps=4, eval_strategy="steps", save_strategy="steps", eval_steps=2,
        save_steps=2, load_best_model_at_end=True, lr_scheduler_type="reduce_lr_on_plateau",
    )  # fmt: skip
    assert trainer.label_names == ["labels"]
    trainer.train()
    assert "eval_loss" in trainer.evaluate() and model.born > 0


def test_log_of_events_goes_on_where_training_is_resumed(tmp_path):
    settings = {"save_strategy": "steps", "save_steps": 2}
    first = toy_growable()
    toy_trainer(first, tmp_path, max_steps=2, **settings).train()
    again = toy_growable()
    again.attach_optimizer(torch.optim.AdamW(again.param_groups(1e-2)))
    trainer = toy_trainer(again, tmp_path, max_steps=4, **settings)
    trainer._load_optimizer_and_scheduler = lambda checkpoint: None  # the first had no groups
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert again.growth_log[: len(first.growth_log)] == first.growth_log
    assert len(again.growth_log) == int(again.clock.events) > len(first.growth_log)
    path = tmp_path / "checkpoint-2" / "growth_log.json"
    path.write_text(path.read_text().replace('"born": ', '"born": 9'))  # of another run
    stranger = toy_growable()
    stranger.attach_optimizer(torch.optim.AdamW(stranger.param_groups(1e-2)))
    trainer = toy_trainer(stranger, tmp_path, max_steps=4, **settings)
    trainer._load_optimizer_and_scheduler = lambda checkpoint: None
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert len(stranger.growth_log) == int(stranger.clock.events) - len(first.growth_log)


def saved_again(model, base, folder):
    model.save_pretrained(folder)
    return GrowableModel.from_pretrained(base, folder)


def test_what_was_trained_is_saved_though_frozen_since(tmp_path):
    model = toy_growable("mlp", train_base="all")
    toy_train(model, toy_optimizer(model), 3)
    model.requires_grad_(False)
    again = saved_again(model, toy_model("mlp"), tmp_path / "1")
    inputs = torch.randn(3, 16)
    assert torch.equal(again(inputs), model(inputs))
    once_more = saved_again(again.requires_grad_(False), toy_model("mlp"), tmp_path / "2")
    assert torch.equal(once_more(inputs), model(inputs))


def test_what_was_thawed_after_wrapping_is_saved(tmp_path):
    model = toy_growable("mlp", train_base="none", init="random")
    model.base_model[0].requires_grad_(True)
    toy_train(model, toy_optimizer(model), 2)
    model.requires_grad_(False)
    again = saved_again(model, toy_model("mlp"), tmp_path)
    inputs = torch.randn(3, 16)
    assert torch.equal(again(inputs), model(inputs))


def test_module_in_two_places_is_saved(tmp_path):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.first = self.second = nn.BatchNorm1d(4)
            self.block = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 4))

        def forward(self, inputs):
            return self.second(self.block(self.first(inputs)))

    model = get_growable_model(Twice(), fast_config(init="random", train_base="all"))
    optimizer, inputs = toy_optimizer(model), torch.randn(20, 4)
    model(inputs).square().mean().backward()
    optimizer.step()
    again = saved_again(model, Twice(), tmp_path)
    assert torch.equal(again.eval()(inputs), model.eval()(inputs))


def test_buffers_and_split_columns_are_saved_though_never_trained(tmp_path):
    def network():
        torch.manual_seed(0)
        block = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 4))
        block.requires_grad_(False)
        return nn.ModuleList([nn.BatchNorm1d(4), block]).requires_grad_(False)

    class Normalised(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = network()

        def forward(self, inputs):
            return self.parts[1](self.parts[0](inputs))

    model = get_growable_model(Normalised(), fast_config(init="split", train_base="all"))
    inputs = torch.randn(20, 4)
    model(inputs)
    model.grow({0: torch.tensor([0, 1])})
    again = saved_again(model, Normalised(), tmp_path)
    assert torch.equal(again.eval()(inputs), model.eval()(inputs))


def test_other_base_is_still_refused(tmp_path):
    model = toy_growable("llama", train_base="ffn")
    model.save_pretrained(tmp_path)
    with pytest.raises(OtherBase, match="sha256"):
        GrowableModel.from_pretrained(toy_model("llama", seed=1), tmp_path)


def test_state_of_other_widths_leaves_no_orphans_bug_27():
    model = toy_growable()
    optimizer = toy_optimizer(model)
    toy_train(model, optimizer, 2)
    saved = copy.deepcopy(model.state_dict())
    toy_train(model, optimizer, 1)
    toy_train(model, optimizer, 1, grow=False)
    model.load_state_dict(saved)
    known = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert {id(p) for p in optimizer.state} <= known
    assert optimizer.state_dict()["state"]
    toy_train(model, optimizer, 2)


@pytest.mark.parametrize("reserved", [0, 3])
def test_state_of_the_same_widths_costs_the_optimizer_nothing(reserved):
    model, other = toy_growable(reserve_events=reserved), toy_growable(seed=1)
    groups = [*model.param_groups(1e-2), *other.param_groups(1e-2)[:1]]
    optimizer = model.attach_optimizer(torch.optim.AdamW(groups))
    other.attach_optimizer(optimizer)
    for each in (model, other):
        toy_train(each, optimizer, 2)
    toy_train(model, optimizer, 1, grow=False)
    optimizer.state["shared"] = {"kept": 1}
    before = list(optimizer.state)
    for each in (model, other):
        each.load_state_dict(copy.deepcopy(each.state_dict()))
    assert list(optimizer.state) == before
    del optimizer.state["shared"]
    known = {id(p) for group in optimizer.param_groups for p in group["params"]}
    cohorts = [p for each in (model, other) for p in each.layers.parameters()]
    assert {id(p) for p in cohorts} <= known


def test_full_layer_leaves_others_growing():
    model = toy_growable(reserve_events=1)
    optimizer = toy_optimizer(model)
    toy_train(model, optimizer, 1, grow=False)
    model.grow({0: torch.tensor([0])})
    toy_train(model, optimizer, 4)
    full, other = (layer.born for layer in model.layers)
    assert full == 1 and other > 0


def test_copy_goes_on_growing_and_leaves_the_original_alone():
    model = toy_growable()
    toy_train(model, toy_optimizer(model), 3)
    twin = copy.deepcopy(model)
    born = model.born
    assert toy_train(twin, twin.link.optimizer, 3) == toy_train(model, model.link.optimizer, 3)
    assert twin.born == model.born > born
    assert int(twin.clock.steps) == int(model.clock.steps) == 6


def test_shallow_copy_does_not_count_twice():
    model = toy_growable()
    optimizer = toy_optimizer(model)
    shallow = copy.copy(model)
    toy_train(model, optimizer, 2)
    assert int(shallow.clock.steps) == int(model.clock.steps) == 2


def test_other_optimizer_than_the_attached_one_is_refused():
    model = toy_growable()
    toy_optimizer(model)
    with pytest.raises(ValueError, match=r"another optimizer.*attach_optimizer"):
        model.check_and_grow(torch.optim.AdamW(model.parameters()))
    assert model.check_and_grow(model.link.optimizer).born == 0


def test_sources_that_make_no_sense_are_named():
    model = toy_growable(init="split")
    with pytest.raises(ValueError, match="at least one layer"):
        model.grow({})
    with pytest.raises(ValueError, match=r"differ.*\[1, 1\]"):
        model.grow({0: torch.tensor([1, 1])})
    assert int(model.clock.events) == 0


def test_unloaded_model_says_what_it_is():
    model = toy_growable()
    base = model.unload()
    for action in (model.unload, model.merge_and_unload, lambda: grow_everywhere(model)):
        with pytest.raises(RuntimeError, match="unloaded"):
            action()
    assert get_growable_model(base, fast_config()).born == 0


def test_neurons_at_rest_do_not_move_on_zero_gradients():
    model = toy_growable(freeze_mature=True, maturation_age=3)
    optimizer = toy_optimizer(model)

    def step():
        optimizer.zero_grad(set_to_none=False)
        model(**toy_batch()).loss.backward()
        optimizer.step()

    step()
    grow_everywhere(model)
    for _ in range(3):
        step()
    before = [p.detach().clone() for p in model.layers.parameters()]
    step()
    assert all(torch.equal(a, b) for a, b in zip(before, model.layers.parameters(), strict=True))


def test_settings_from_numpy_and_ranges_are_taken():
    numpy = pytest.importorskip("numpy")
    config = GrowthConfig(
        noise=numpy.float32(0.5), seed=numpy.int64(3), layers_to_transform=range(1)
    )
    assert (config.noise, config.seed, config.layers_to_transform) == (0.5, 3, [0])
    assert type(config.seed) is int
    for wanted in ({0}, (0,), list(numpy.arange(1))):
        assert GrowthConfig(layers_to_transform=wanted).layers_to_transform == [0]
    with pytest.raises(ValueError, match=r"layers_to_transform must be a list.*got 1"):
        GrowthConfig(layers_to_transform=1)


def test_copies_that_span_everything_are_no_reason_to_stop_training():
    model = toy_growable(init="copy_noise", orthogonalize="nearest", noise=0.0, zero="up")
    with torch.no_grad():
        for layer in model.layers:  # all rows alike: nothing is left of a copy
            layer.block.up.weight.copy_(layer.block.up.weight[:1].expand(24, -1))
    with pytest.raises(GrowthSkipped, match="leave nothing of a candidate"):
        grow_everywhere(model)
    assert model.born == 0


def toy_other(name: str, **changes) -> nn.Module:
    sizes = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    settings = getattr(transformers, f"{name}Config")(**sizes | changes)
    return getattr(transformers, f"{name}ForCausalLM")(settings).eval()


def test_merged_falcon_can_be_loaded_again(tmp_path):
    model = get_growable_model(toy_other("Falcon", ffn_hidden_size=24), fast_config(init="random"))
    grow_everywhere(model)
    merged = model.merge_and_unload()
    merged.save_pretrained(tmp_path)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = toy_batch()["input_ids"]
    assert torch.equal(again(ids).logits, merged(ids).logits)


def test_experts_of_other_widths_are_not_merged():
    experts = {"num_experts": 2, "moe_intermediate_size": 8, "decoder_sparse_step": 1}
    base = toy_other(
        "Qwen2Moe", intermediate_size=24, shared_expert_intermediate_size=12, **experts
    )
    model = get_growable_model(base, fast_config(init="random"))
    widths = [layer.block.width for layer in model.layers]
    with pytest.raises(ValueError, match=r"intermediate_size of the config is 24.*save_pretrained"):
        model.merge_and_unload()
    assert [layer.block.width for layer in model.layers] == widths
