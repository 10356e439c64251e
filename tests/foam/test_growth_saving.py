"""Growth on disk, and training that goes on as if it had never stopped.

Bugs of the specification guarded here: 57, 59 to 63, 66 and 67; 40 and 65 are in
`test_growth_optimizer` and `test_preservation`.
"""

import copy
import json

import pytest
import torch
from foam_toys import (
    KINDS,
    fast_config,
    grow_everywhere,
    growth_batch,
    loss_for,
    toy_batch,
    toy_growable,
    toy_model,
    toy_optimizer,
    toy_train,
    toy_trainer,
)
from safetensors.torch import load_file

from plasticity.foam import (
    GrowableModel,
    GrowthCallback,
    GrowthConfig,
    OtherBase,
    get_growable_model,
)
from plasticity.foam.saving import CONFIG_FILE, MODEL_FILE


def same(first, second) -> bool:
    states = first.state_dict(), second.state_dict()
    assert states[0].keys() == states[1].keys()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_what_came_to_rest_stays_at_rest_after_loading(tmp_path):
    settings = {"train_base": "none", "freeze_mature": True, "maturation_age": 3}
    model = toy_growable(**settings)
    toy_train(model, toy_optimizer(model), 2)
    toy_train(model, model.link.optimizer, 6, grow=False)
    at_rest = [p.requires_grad for p in model.layers[0].parameters()]
    assert False in at_rest
    model.save_pretrained(tmp_path)
    again = GrowableModel.from_pretrained(toy_model(), tmp_path)
    assert [p.requires_grad for p in again.layers[0].parameters()] == at_rest
    before = [p.detach().clone() for p in again.layers[0].cohorts[0].parameters()]
    toy_train(again, toy_optimizer(again), 3, grow=False)
    after = again.layers[0].cohorts[0].parameters()
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))


@pytest.mark.parametrize("train_base", ["ffn", "all", "none"])
@pytest.mark.parametrize("kind", ["llama", "gpt2", "mlp"])
def test_saved_and_loaded_is_the_same_bugs_62_66(kind, train_base, tmp_path):
    model = toy_growable(kind, train_base=train_base)
    toy_train(model, toy_optimizer(model), 9)
    model.save_pretrained(tmp_path)
    again = GrowableModel.from_pretrained(toy_model(kind), tmp_path)
    assert same(model, again)
    assert again.growth_log == model.growth_log
    assert loss_for(again).item() == loss_for(model).item()
    assert {p.name for p in tmp_path.iterdir()} == {CONFIG_FILE, MODEL_FILE}
    saved = load_file(tmp_path / MODEL_FILE)
    of_base = [name for name in saved if name.startswith("base_model.")]
    assert bool(of_base) == (train_base != "none")
    assert not any("self_attn" in name or "attn" in name for name in of_base) or (
        train_base == "all"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_fresh_wrap_takes_a_state_of_any_width_bug_59(kind):
    model = toy_growable(kind)
    toy_train(model, toy_optimizer(model), 9)
    fresh = toy_growable(kind, seed=1)
    grow_everywhere(fresh, count=5, growth_batch=growth_batch(fresh))
    assert str(fresh.load_state_dict(model.state_dict(), strict=True)) == (
        "<All keys matched successfully>"
    )
    assert same(model, fresh)
    assert loss_for(fresh).item() == loss_for(model).item()


def run(model, optimizer, first, steps):
    return toy_train(model, optimizer, steps, first=first)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"train_base": "none"},
        {"trigger": "plateau", "plateau_window": 4, "plateau_threshold": 1.0},
        {"trigger": "pressure_ratio", "pressure_ratio": 0.5, "pressure_window": 6},
        {"enable_replacement": True, "dormancy_tau": 0.9},
        {"reserve_events": 9},
        {"init": "random", "growth_cooldown": 4},
    ],
    ids=lambda changes: next(iter(changes), "default"),
)
def test_training_that_was_resumed_ends_bit_equal_bugs_60_62(changes, tmp_path):
    """Weights, moments, ages, pressures, losses, cooldown; tokens for GradMax are seen anew."""
    changes = {"growth_cooldown": 3} | changes
    whole = toy_growable(**changes)
    optimizer = toy_optimizer(whole)
    losses = run(whole, optimizer, 0, 16)
    half = toy_growable(**changes)
    optimizer_of_half = toy_optimizer(half)
    assert run(half, optimizer_of_half, 0, 8) == losses[:8]
    half.save_pretrained(tmp_path)
    moments = copy.deepcopy(optimizer_of_half.state_dict())
    again = GrowableModel.from_pretrained(toy_model(), tmp_path)
    resumed = toy_optimizer(again)
    resumed.load_state_dict(moments)
    assert run(again, resumed, 8, 8) == losses[8:]
    assert same(whole, again)
    assert whole.born > 0
    for one, other in zip(optimizer.param_groups, resumed.param_groups, strict=True):
        assert len(one["params"]) == len(other["params"])
        for old, new in zip(one["params"], other["params"], strict=True):
            for name, value in optimizer.state[old].items():
                assert torch.equal(value, resumed.state[new][name])


def test_merged_widths_are_in_the_config_bugs_60_61(tmp_path):
    model = toy_growable("llama")
    model.grow({0: torch.arange(2)}, growth_batch=toy_batch())
    model.grow({1: torch.arange(5)}, growth_batch=toy_batch())
    expected = loss_for(model).item()
    assert model.base_model.config.intermediate_size == 24  # the base is what it was
    merged = model.merge_and_unload()
    assert merged.config.intermediate_size == 29
    merged.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["intermediate_size"] == 29
    again = type(merged).from_pretrained(tmp_path)
    assert loss_for(again).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_reserved_room_and_tied_weights_are_saved_once_bug_63(kind, tmp_path):
    model = toy_growable(kind, train_base="all", reserve_events=2)
    grow_everywhere(model, growth_batch=toy_batch())
    state = model.state_dict()
    assert "base_model.lm_head.weight" not in state
    pointers = [t.data_ptr() for t in state.values() if t.numel()]
    assert len(pointers) == len(set(pointers))
    model.save_pretrained(tmp_path)
    again = GrowableModel.from_pretrained(toy_model(kind), tmp_path)
    assert again.base_model.lm_head.weight is again.base_model.get_input_embeddings().weight
    assert same(model, again)


def test_checkpoints_of_another_base_are_refused(tmp_path):
    model = toy_growable("llama", train_base="none")
    grow_everywhere(model, growth_batch=toy_batch())
    model.save_pretrained(tmp_path)
    other = toy_model("llama", seed=1)
    with pytest.raises(OtherBase, match="sha256 of its frozen weights"):
        GrowableModel.from_pretrained(other, tmp_path)
    assert all(p.requires_grad for p in other.parameters())  # it was left as it was
    get_growable_model(other)
    trained = toy_growable("llama", train_base="all")
    trained.save_pretrained(tmp_path / "all")
    with pytest.raises(OtherBase, match=r"has shape .*, got None"):
        GrowableModel.from_pretrained(toy_model("gpt2"), tmp_path / "all")
    fewer = toy_growable("mlp", train_base="none")
    fewer.save_pretrained(tmp_path / "mlp")
    with pytest.raises(OtherBase):
        GrowableModel.from_pretrained(toy_model("llama"), tmp_path / "mlp")


def test_folders_that_hold_no_growth_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="save_pretrained"):
        GrowableModel.from_pretrained(toy_model(), tmp_path)
    GrowthConfig(seed=7).save_pretrained(tmp_path)
    assert GrowthConfig.from_pretrained(tmp_path).seed == 7
    with pytest.raises(ValueError, match="does not hold a growable model of format 1"):
        GrowableModel.from_pretrained(toy_model(), tmp_path)


def test_saving_is_atomic_and_never_empty(tmp_path, monkeypatch):
    model = toy_growable(train_base="none")
    grow_everywhere(model, growth_batch=toy_batch())
    model.save_pretrained(tmp_path)
    before = (tmp_path / MODEL_FILE).read_bytes()
    saved = load_file(tmp_path / MODEL_FILE)
    assert (
        sum(t.numel() for n, t in saved.items() if n.endswith((".up", ".down", ".gate")))
        == (model.parameter_counts()["born"])
    )

    def broken(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("plasticity.foam.saving.save_file", broken)
    with pytest.raises(OSError, match="disk full"):
        model.save_pretrained(tmp_path)
    assert (tmp_path / MODEL_FILE).read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_counts_leave_out_what_is_not_born_bug_67(capsys):
    model = toy_growable("llama", reserve_events=3, pad_multiple=8)
    assert model.parameter_counts()["born"] == 0
    grow_everywhere(model, count=2, growth_batch=toy_batch())
    assert model.parameter_counts()["born"] == 2 * 2 * 3 * 16
    assert model.born == 4
    model.print_trainable_parameters()
    assert "192 of them born" in capsys.readouterr().out


def test_copies_are_independent_bug_57():
    model = toy_growable(train_base="none")
    grow_everywhere(model, growth_batch=toy_batch())
    twin = copy.deepcopy(model)
    before = loss_for(model).item()
    optimizer = toy_optimizer(twin)
    toy_train(twin, optimizer, 6)
    assert loss_for(twin).item() != before == loss_for(model).item()
    assert twin.born > model.born
    with twin.disable_growth():
        with model.disable_growth():
            assert loss_for(twin).item() == loss_for(model).item()
        assert loss_for(model).item() == before


def test_trainer_grows_with_its_own_optimizer(tmp_path):
    model = toy_growable(growth_cooldown=3)
    work = toy_trainer(model, tmp_path, gradient_accumulation_steps=2)
    work.train()
    assert [result.step for result in model.growth_log] == [3, 6, 9, 12]
    assert work.state.log_history[-2]["born"] > 0
    held = {id(p) for g in work.optimizer.param_groups for p in g["params"]}
    assert {id(p) for p in model.parameters() if p.requires_grad} <= held
    saved = tmp_path / "checkpoint-12"
    assert GrowthConfig.from_pretrained(saved) == model.growth_config
    assert len(json.loads((saved / "growth_log.json").read_text())) == 4


def test_trainer_resumes_bit_equal(tmp_path):
    def start(folder):
        model = toy_growable(growth_cooldown=3)
        optimizer = torch.optim.AdamW(model.param_groups(1e-2, 0.1))
        return model, toy_trainer(model, folder, model.attach_optimizer(optimizer))

    whole, work = start(tmp_path / "whole")
    work.train()
    again, work = start(tmp_path / "again")
    work.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-6"))
    assert whole.born > 0
    assert same(whole, again)


def test_callback_says_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match="check_every must be"):
        GrowthCallback(check_every=0)
    with pytest.raises(TypeError, match="wrap it with get_growable_model"):
        toy_trainer(toy_model(), tmp_path).train()


def test_configuration_round_trip():
    config = fast_config(layers_to_transform=[0, 2], max_growth_ratio=None)
    assert GrowthConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
