"""What a `GrowableLinear` gains, and what it can be configured for."""

import torch
from torch import nn

from plasticity.foam.configuration import GrowthConfig
from plasticity.foam.optimizers import MATURE, YOUNG, moved_by

ROWS, COLUMNS = "rows", "columns"
LAYER_INITS = ("gradmax", "copy_noise", "random")


class Block(nn.Module):
    """What a growable linear layer gained at one time: rows (outputs) or columns (inputs)."""

    def __init__(self, kind: str, shape: tuple[int, int], like: nn.Parameter, bias: bool):
        super().__init__()
        self.kind = kind
        self.weight = nn.Parameter(like.new_zeros(shape))
        bias = bias and kind == ROWS
        self.register_parameter("bias", nn.Parameter(like.new_zeros(shape[0])) if bias else None)
        self.register_buffer("is_rows", torch.tensor(kind == ROWS))


def blocks_in(state_dict: dict, start: str) -> list[tuple[str, tuple[int, int]]]:
    """Return kind and shape of each block of a checkpoint, names beginning with `start`."""
    numbers = {int(k[len(start) :].split(".")[0]) for k in state_dict if k.startswith(start)}
    found = []
    for number in sorted(numbers):
        kind = ROWS if bool(state_dict[f"{start}{number}.is_rows"]) else COLUMNS
        found.append((kind, tuple(state_dict[f"{start}{number}.weight"].shape)))
    return found


def check_supported(config: GrowthConfig) -> None:
    """Raise ValueError if a layer by itself cannot grow as configured."""
    if config.init not in LAYER_INITS:
        raise ValueError(
            f"init of a GrowableLinear must be one of {LAYER_INITS}, got {config.init!r}; others "
            "need a whole feed-forward block: get_growable_model(model, config)"
        )
    if config.reserve_events:
        raise ValueError(
            f"reserve_events of a GrowableLinear must be 0, got {config.reserve_events}; room is "
            "reserved in whole models: get_growable_model(model, config)"
        )


def place_loaded(layer, keys) -> None:
    """Tell the optimizer of blocks that were built for a checkpoint."""
    starts = {id(parameter): start for start, parameter in layer._row_parameters()}
    for block in layer.blocks:
        link = layer._link_of(block)
        if link is None or id(block.weight) in moved_by(link.optimizer):
            continue
        start = starts.get(id(block.weight))
        age = -1 if start is None else int(layer.neurons.age[start])
        link.place(block, MATURE if age >= layer.config.maturation_age else YOUNG)
