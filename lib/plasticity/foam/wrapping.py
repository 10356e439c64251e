"""What is asked of a base model, and done to it, when it becomes growable."""

import warnings

import torch
from torch import Tensor, nn

from plasticity.foam.configuration import GrowthConfig
from plasticity.foam.feed_forward import FeedForward
from plasticity.foam.initializers import at_zero, check_zero


def check_settings(block: FeedForward, config: GrowthConfig) -> None:
    """Raise ValueError if a block's activation does not allow what is configured."""
    if config.init in ("gradmax", "random", "copy_noise"):
        check_zero(block, config.zero)
    name = "reserve_events" if config.reserve_events else "pad_multiple"
    if block.gate is not None or (name == "pad_multiple" and config.pad_multiple == 1):
        return
    value, _ = at_zero(block)
    if value != 0:
        raise ValueError(
            f"{name}={getattr(config, name)} leaves room that must stay silent, which needs an "
            f"activation with f(0) = 0, got {value:g}: set reserve_events=0 and "
            "pad_multiple=1, or use ReLU, GELU, SiLU or tanh"
        )


def freeze(model: nn.Module, blocks: list, train_base: str) -> None:
    """Freeze what is not to be trained; nothing that was frozen is thawed."""
    if train_base == "all":
        return
    kept = set()
    if train_base == "ffn":
        kept = {id(p) for block in blocks for p in block.module.parameters()}
        if not any(p.requires_grad for block in blocks for p in block.module.parameters()):
            warnings.warn(
                "train_base='ffn', but the feed-forward blocks are frozen: only newborns will be "
                "trained (train_base='none' says so)",
                stacklevel=4,
            )
    for parameter in model.parameters():
        if id(parameter) not in kept:
            parameter.requires_grad_(False)


def require_gradient(module: nn.Module, arguments, output: Tensor) -> Tensor:
    """Without it nothing upstream of the first newborn has a graph when all else is frozen."""
    if torch.compiler.is_compiling():
        return output
    if module.training and torch.is_grad_enabled() and not output.requires_grad:
        output.requires_grad_(True)
    return output
