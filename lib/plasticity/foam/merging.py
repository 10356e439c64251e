"""Newborns inside the layers of the base: a plain model that needs nothing of this package."""

import torch
from torch import Tensor, nn

from plasticity.foam.configuration import GrowthConfig
from plasticity.foam.feed_forward import find_blocks, is_transposed
from plasticity.foam.layer import GrowableLayer

WIDTH_NAMES = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size")


def merge(model, multiple: int = 1) -> None:
    """Replace the layers of every block by wider ones; retired neurons are left out.

    Parameters
    ----------
    model : GrowableModel
    multiple : int
        Every block gets the width of the widest, rounded up to a multiple of this, at least 1.

    Raises
    ------
    ValueError
        If the config of a transformers model cannot hold the new width: blocks that do not grow,
        or widths that it keeps elsewhere, as for experts.
    """
    if multiple < 1:
        raise ValueError(f"pad_to_multiple_of must be at least 1, got {multiple}")
    settings = getattr(model.base_model, "config", None)
    name = next((n for n in WIDTH_NAMES if hasattr(settings, n)), None)
    widths = [int(layer.neurons.active.sum()) for layer in model.layers]
    if name is None:
        for layer, width in zip(model.layers, widths, strict=True):
            _merge_layer(layer, -(-width // multiple) * multiple)
        return
    _check_width(model, settings, name)
    width = -(-max(widths) // multiple) * multiple
    every = _all_blocks(model)
    if len(every) != len(model.layers):
        raise ValueError(
            f"{len(every) - len(model.layers)} blocks of this model do not grow, but {name} is one "
            "number for all; wrap them all (layers_to_transform=None) to merge, or keep the "
            "newborns apart with save_pretrained"
        )
    for layer in model.layers:
        _merge_layer(layer, width)
    setattr(settings, name, width)


def _check_width(model, settings, name: str) -> None:
    """Raise unless it is this field of the config that gives all growing blocks their width."""
    told, found = getattr(settings, name), sorted({layer.block.width for layer in model.layers})
    if told is not None and found != [told]:  # None: four times the hidden size, in GPT-2
        raise ValueError(
            f"{name} of the config is {told}, but growing blocks are {found} wide: a merged "
            f"{type(model.base_model).__name__} could not be loaded again; keep the newborns apart "
            "with save_pretrained, or choose blocks of that width with target_modules"
        )


def _all_blocks(model) -> list:
    """Return all feed-forward blocks of the base, those that do not grow included."""
    with model.disable_growth():
        return find_blocks(model.base_model, GrowthConfig())


@torch.no_grad()
def _merge_layer(layer: GrowableLayer, width: int) -> None:
    block, active = layer.block, layer.neurons.active
    for name in ("gate", "up", "down"):
        old = getattr(block, name)
        if old is None:
            continue
        rows = layer.rows(name)[active]
        filled = torch.cat([rows, rows.new_zeros(width - len(rows), rows.shape[1])])
        bias = old.bias
        if name != "down" and bias is not None:
            grown = layer.joined(f"{name}_bias")
            every = bias if grown is None else torch.cat([bias, grown])
            bias = torch.cat([every[active], every.new_zeros(width - len(rows))])
        new = _layer_like(old, filled.T if name == "down" else filled, bias)
        _replace(block.module, old, new)
        setattr(block, name, new)
    if hasattr(block.module, "intermediate_size"):
        block.module.intermediate_size = width
    while len(layer.cohorts):
        layer.remove_last_cohort()


def _layer_like(old: nn.Module, weight: Tensor, bias: Tensor | None) -> nn.Module:
    """Return a layer of the same kind with other weights; a quantised one becomes nn.Linear."""
    outputs, inputs = weight.shape
    if is_transposed(old):
        new = type(old)(outputs, inputs)
        weight = weight.T
    else:
        new = nn.Linear(inputs, outputs, bias=bias is not None, device="meta")
    trained = old.weight.requires_grad
    new.weight = nn.Parameter(weight.contiguous(), requires_grad=trained)
    if bias is not None:
        new.bias = nn.Parameter(bias.detach().clone(), requires_grad=old.bias.requires_grad)
    return new.train(old.training)


def _replace(parent: nn.Module, old: nn.Module, new: nn.Module) -> None:
    for name, child in parent.named_children():
        if child is old:
            setattr(parent, name, new)
            return
    raise AssertionError("a block's layer is not its child")
