"""What a user can get wrong is refused, or warned of, with a way out; nothing is changed then."""

import copy

import numpy as np
import pytest
import torch
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
from safetensors.torch import load_file
from torch import nn

from plasticity.foam import (
    GrowableLinear,
    GrowableQwen,
    GrowthConfig,
    UnsupportedArchitecture,
    attach_optimizer,
    distributed,
    get_growable_model,
)
from plasticity.foam.triggers import decide


def mask(count: int = 24) -> torch.Tensor:
    return torch.arange(count) < 2


@pytest.mark.parametrize("init", ["gradmax", "random", "copy_noise", "pair"])
@pytest.mark.parametrize("given", [mask(), torch.tensor([1.0, 2.0]), [True, False]])
def test_sources_that_are_no_numbers_are_refused(init, given):
    model = toy_growable(init=init)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(TypeError, match=r"sources of layer 0 must be whole numbers.*nonzero"):
        model.grow({0: given}, growth_batch=toy_batch())
    assert model.growth_log == [] and model.state_dict().keys() == before.keys()


@pytest.mark.parametrize("given", [mask(8), torch.tensor([0.5])])
def test_a_layer_refuses_sources_that_are_no_numbers(given):
    layer, reader = GrowableLinear(4, 8), GrowableLinear(8, 2)
    layer.link(reader)
    with pytest.raises(TypeError, match=r"source_indices must be whole numbers.*nonzero"):
        layer.perform_growth(given)
    assert layer.out_features == reader.in_features == len(layer.neuron_age) == 8


@pytest.mark.parametrize("given", [torch.tensor([1]), [1], "0", None, {}])
def test_sources_are_a_dict(given):
    with pytest.raises(ValueError, match=r"sources must name the neurons.*such as \{0:"):
        toy_growable().grow(given)


@pytest.mark.parametrize("number", ["0", 9, -1, 0.5, 0.0])
def test_sources_name_layers_by_number(number):
    with pytest.raises(ValueError, match="sources name layer"):
        toy_growable().grow({number: torch.tensor([1])})


def test_numbers_may_come_as_a_list_and_layers_as_numbers_of_numpy():
    assert toy_growable(init="random").grow({np.int64(0): [1, 2]}).born == 2
    with pytest.raises(ValueError, match="at least one"):
        toy_growable().grow({0: []})


def test_growing_while_an_unknown_optimizer_trains_warns():
    model = toy_growable(init="random")
    optimizer = torch.optim.AdamW(model.parameters())
    grow_everywhere(model)  # nothing is trained yet
    model(**toy_batch()).loss.backward()
    optimizer.step()
    with pytest.warns(UserWarning, match=r"will not move the newborns; call model\.attach") as said:
        model.grow({0: torch.tensor([1])})
    layer = GrowableLinear(4, 8)
    layer(torch.ones(1, 4)).sum().backward()
    torch.optim.SGD(layer.parameters(), 0.1).step()
    layer.update_statistics()
    with pytest.warns(UserWarning, match=r"will not move the newborns; call layer\.attach") as more:
        layer.perform_growth(torch.tensor([1]))
    assert {warning.filename for warning in (*said, *more)} == {__file__}


def test_plateau_in_the_trainer_warns_where_few_losses_are_logged(tmp_path, recwarn):
    for every, warned in ((5, True), (1, False)):
        model = toy_growable(trigger="plateau", plateau_window=4)
        trainer = toy_trainer(
            model, tmp_path / str(every), toy_optimizer(model), logging_steps=every, max_steps=4
        )
        recwarn.clear()
        trainer.train()
        said = [str(warning.message) for warning in recwarn]
        assert any("one in logging_steps=5" in text for text in said) == warned
        assert int(model.clock.losses_seen) == (0 if warned else 4)


def test_nan_gradients_are_told_as_the_reason():
    model = toy_growable()
    optimizer = toy_optimizer(model)
    toy_train(model, optimizer, 8)
    born = model.born
    for _ in range(3):
        optimizer.zero_grad()
        (float("nan") * model(**toy_batch()).loss).backward()
        optimizer.step()
    assert "no neuron had a finite gradient in the last step" in model.check_and_grow().reason
    assert model.born == born


def test_a_process_without_gradients_decides_as_the_others_do(monkeypatch):
    model = toy_growable()
    toy_train(model, toy_optimizer(model), 8, grow=False)
    for layer in model.layers:
        layer.neurons.seen = torch.tensor(False)
    assert "no neuron had a finite gradient" in decide(model)[1]
    monkeypatch.setattr(distributed, "average_", lambda tensor: tensor.add_(0.5))  # another has one
    assert decide(model)[0]


@pytest.mark.parametrize("beside", [{"enable_replacement": True}, {"freeze_attention": False}])
def test_settings_beside_a_config_are_refused(beside):
    with pytest.raises(ValueError, match="either config or settings, not both"):
        GrowableQwen(toy_model(), config=GrowthConfig(), **beside)


def test_a_config_may_say_what_a_subclass_does():
    class Replacing(GrowableQwen):
        def __init__(self, model, config=None):
            super().__init__(model, enable_replacement=True, freeze_attention=False, config=config)

    own = Replacing(toy_model()).growth_config
    assert Replacing(toy_model(), config=own).growth_config.enable_replacement
    assert GrowthConfig(enable_replacement=np.bool_(True)).enable_replacement is True


@pytest.mark.parametrize("name", ["freeze_mature", "enable_replacement", "protect_base"])
@pytest.mark.parametrize("value", ["yes", 2, None])
def test_switches_are_booleans(name, value):
    with pytest.raises(ValueError, match=f"{name} must be True or False, got {value!r}"):
        GrowthConfig(**{name: value})


def test_an_unloaded_model_says_that_it_is(tmp_path):
    model = toy_growable()
    optimizer = toy_optimizer(model)
    model.merge_and_unload()
    for call in (
        model.check_and_grow,
        lambda: model.grow({0: torch.tensor([1])}),
        lambda: model.attach_optimizer(optimizer),
        lambda: model.save_pretrained(tmp_path),
        lambda: model.disable_growth().__enter__(),
    ):
        with pytest.raises(RuntimeError, match="was unloaded"):
            call()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("model", "config"), [("gpt2", None), (None, None), (toy_model("mlp"), {"init": "random"})]
)
def test_models_and_configs_are_what_they_should_be(model, config):
    with pytest.raises(TypeError, match=r"(model|config) must be .*, got (str|NoneType|dict)"):
        get_growable_model(model, config)


def test_optimizers_are_attached_to_growable_models():
    plain = toy_model("mlp")
    with pytest.raises(TypeError, match=r"must be a GrowableModel.*get_growable_model"):
        attach_optimizer(plain, torch.optim.SGD(plain.parameters(), 0.1))


def test_models_without_blocks_and_blocks_of_two_widths_are_told_a_way_out():
    with pytest.raises(UnsupportedArchitecture, match=r"nn\.Sequential of two Linear and an act"):
        get_growable_model(nn.Sequential(nn.Linear(4, 4)))
    block = nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(16, 4))
    with pytest.raises(UnsupportedArchitecture, match=r"widths \[12, 16\].*target_modules"):
        get_growable_model(block)


def test_a_checkpoint_of_the_trainers_can_be_loaded_as_its_error_says(tmp_path):
    model = toy_growable()
    trainer = toy_trainer(model, tmp_path, toy_optimizer(model))
    trainer.train()
    assert model.born
    folder = tmp_path / "checkpoint-12"
    with pytest.raises(ValueError, match=r"GrowthConfig\.from_pretrained\(folder\), then load_st"):
        type(model).from_pretrained(toy_model(), folder)
    again = get_growable_model(toy_model(), GrowthConfig.from_pretrained(folder))
    again.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    assert again.born == model.born
    with torch.no_grad():
        assert torch.equal(again.eval()(**toy_batch()).logits, model.eval()(**toy_batch()).logits)


def test_a_damaged_log_of_events_is_named(tmp_path):
    model = toy_growable()
    toy_trainer(model, tmp_path, toy_optimizer(model)).train()
    log = tmp_path / "checkpoint-6" / "growth_log.json"
    log.write_text(log.read_text()[:-9])
    again = toy_growable()
    with pytest.raises(ValueError, match=r"growth_log\.json is damaged .*delete it"):
        toy_trainer(again, tmp_path, toy_optimizer(again)).train(
            resume_from_checkpoint=str(log.parent)
        )


def test_a_folder_knows_the_revision_of_its_base(tmp_path):
    model = get_growable_model(toy_model(), fast_config(init="random"))
    model.base_model.config._commit_hash = "abc123"
    model.base_model.config._name_or_path = "some/base"
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="some/base at revision abc123"):
        type(model).from_pretrained(toy_model(seed=1, kind="qwen2"), tmp_path)


def test_pressure_of_newborns_counts_once_it_has_settled():
    model = toy_growable("mlp", ema_beta=0.9, max_growth_per_step=3)
    neurons = model.layers[0].neurons
    width = len(neurons)
    for _ in range(20):
        neurons.update_pressure(torch.ones(width), beta=0.9, top=3)
    neurons.extend(3)
    neurons.bear(torch.arange(width, width + 3), torch.zeros(3, dtype=torch.int64), 0)
    loud = torch.ones(width + 3)
    loud[width:] = 50.0
    pressures = []
    for _ in range(12):
        neurons.update_pressure(loud, beta=0.9, top=3)
        pressures.append(neurons.pressure_and_past()[0])
    assert pressures[:9] == pytest.approx([1.0] * 9)
    assert pressures[9:] == pytest.approx([50.0] * 3)
