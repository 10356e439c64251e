"""Folders of `save_pretrained` that were damaged: each is refused, and the base stays as it was."""

import json

import pytest
import torch
from foam_toys import grow_everywhere, toy_growable, toy_model, toy_optimizer, toy_train
from safetensors.torch import load_file, save_file

from plasticity.foam import GrowableModel, GrowthConfig
from plasticity.foam.saving import CONFIG_FILE, MODEL_FILE


@pytest.fixture
def folder(tmp_path):
    model = toy_growable("mlp", init="random")
    grow_everywhere(model)
    toy_train(model, toy_optimizer(model), 2, grow=False)
    model.save_pretrained(tmp_path)
    return tmp_path


def refused(folder, pattern: str) -> None:
    base = toy_model("mlp")
    with pytest.raises(ValueError, match=pattern):
        GrowableModel.from_pretrained(base, folder)
    assert all(
        torch.equal(a, b) and a.requires_grad
        for a, b in zip(base.parameters(), toy_model("mlp").parameters(), strict=True)
    )
    assert not base._forward_hooks and not hasattr(base, "_growable")


@pytest.mark.parametrize(
    "name", ["layers.0.cohorts.0.down", "layers.0.cohorts.0.up", "layers.0.neurons.age",
             "clock.steps"],
)  # fmt: skip
def test_tensor_that_is_missing(folder, name):
    tensors = load_file(folder / MODEL_FILE)
    del tensors[name]
    save_file(tensors, folder / MODEL_FILE)
    refused(folder, f"{MODEL_FILE} does not have the newborns.*{name}.*save_pretrained")


def test_tensor_of_another_shape(folder):
    tensors = load_file(folder / MODEL_FILE)
    tensors["layers.0.cohorts.0.up"] = tensors["layers.0.cohorts.0.up"][:2].clone()
    save_file(tensors, folder / MODEL_FILE)
    refused(folder, r"another shape.*cohorts\.0\.up")


def test_file_that_ends_too_soon(folder):
    whole = (folder / MODEL_FILE).read_bytes()
    (folder / MODEL_FILE).write_bytes(whole[: len(whole) // 2])
    refused(folder, f"{MODEL_FILE} is damaged.*save_pretrained")


@pytest.mark.parametrize("text", ["", '{"growth": {', "[]", "{}", '{"growth": 3}'])
def test_record_that_cannot_be_read(folder, text):
    (folder / CONFIG_FILE).write_text(text)
    refused(folder, f"{CONFIG_FILE}.*save_pretrained")
    with pytest.raises(ValueError, match=CONFIG_FILE):
        GrowthConfig.from_pretrained(folder)


@pytest.mark.parametrize(
    "field, value",
    [("growth_log", None), ("growth_log", [{"grew": 3}]), ("widths", None), ("widths", [["x"]]),
     ("base_sha256", None)],
)  # fmt: skip
def test_record_with_something_else_in_it(folder, field, value):
    record = json.loads((folder / CONFIG_FILE).read_text())
    (folder / CONFIG_FILE).write_text(json.dumps(record | {field: value}))
    refused(folder, f"{CONFIG_FILE} is damaged.*save_pretrained")


def test_record_that_lacks_a_part(folder):
    record = json.loads((folder / CONFIG_FILE).read_text())
    del record["widths"]
    (folder / CONFIG_FILE).write_text(json.dumps(record))
    refused(folder, r"lacks \['widths'\]")
