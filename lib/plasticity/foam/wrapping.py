"""What is asked of a base model, and done to it, when it becomes growable."""

import inspect
import types
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


def check_processes(model, with_batch: bool) -> None:
    """Raise unless a model that is wrapped for several processes can grow so.

    Parameters
    ----------
    model : GrowableModel
    with_batch : bool
        Whether the event is measured on a batch.
    """
    config = model.growth_config
    sharded = any(hasattr(p, "full_tensor") for p in model.parameters())
    if (sharded or model.inside_ddp) and not config.reserve_events:
        raise NotImplementedError(
            "parameters that are born after a model was wrapped (DistributedDataParallel, "
            "fully_shard) are not synchronised; set reserve_events in GrowthConfig, or grow "
            "the model outside and wrap it again"
        )
    if sharded and (with_batch or config.enable_replacement or config.init == "split"):
        raise NotImplementedError(
            "sharded parameters (fully_shard) cannot be measured on a batch, split or retired; "
            "leave growth_batch out, and set enable_replacement=False and init='gradmax'"
        )


def show_signature(model) -> None:
    """Let `forward` have the base's arguments: the Trainer keeps the columns named by them."""

    def forward(self, *arguments, **keywords):
        return self.base_model(*arguments, **keywords)

    own = next(iter(inspect.signature(forward).parameters.values()))
    others = inspect.signature(model.base_model.forward).parameters.values()
    forward.__signature__ = inspect.Signature([own, *others])
    model.__dict__["forward"] = types.MethodType(forward, model)
