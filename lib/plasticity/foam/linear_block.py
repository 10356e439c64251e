"""What a `GrowableLinear` gains, and what it can be configured for."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from plasticity.foam.configuration import GrowthConfig
from plasticity.foam.optimizers import MATURE, YOUNG, moved_by

ROWS, COLUMNS = "rows", "columns"
LAYER_INITS = ("gradmax", "copy_noise", "random")


class Block(nn.Module):
    """What a growable linear layer gained at one time: rows (outputs) or columns (inputs).

    `order` says how many newborn parameters the optimizer had before.
    """

    def __init__(
        self, kind: str, shape: tuple[int, int], like: nn.Parameter, bias: bool, order: int = 0
    ):
        super().__init__()
        self.kind = kind
        self.weight = nn.Parameter(like.new_zeros(shape))
        bias = bias and kind == ROWS
        self.register_parameter("bias", nn.Parameter(like.new_zeros(shape[0])) if bias else None)
        self.register_buffer("is_rows", torch.tensor(kind == ROWS))
        self.register_buffer("order", torch.tensor(order))

    def _load_from_state_dict(self, state_dict, prefix, *arguments):
        state_dict.setdefault(f"{prefix}order", torch.tensor(0))  # checkpoints of older versions
        super()._load_from_state_dict(state_dict, prefix, *arguments)


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


def newest(tape: list[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """Join inputs, and gradients, of those passes that have the widths of the last one."""
    shapes = [[each.shape[1] for each in pair] for pair in tape]
    last = [pair for pair, own in zip(tape, shapes, strict=True) if own == shapes[-1]]
    return [torch.cat(each) for each in zip(*last, strict=True)]


def rebuild(layer, wanted: list[tuple[str, tuple[int, int]]]) -> None:
    """Give a layer blocks of these kinds and shapes instead of its own, which are forgotten."""
    for block in layer.blocks:
        link = layer._link_of(block)
        if link is not None:
            link.remove(block)
            link.forget(block)
    has_bias = layer.bias is not None
    layer.blocks = nn.ModuleList(Block(*each, layer.weight, has_bias) for each in wanted)
    layer.tape, layer.norms = [], {}


def born_together(layer) -> Iterator[tuple[int, list[Block]]]:
    """Yield the age of each block of rows in turn, and what comes of age with it.

    That is the block itself, and the columns that the consumer gained for it: rows that were born
    before there was a consumer have none.
    """
    rows = [block for block in layer.blocks if block.kind == ROWS]
    reader = () if layer.consumer is None else layer.consumer.blocks
    columns = [block for block in reader if block.kind == COLUMNS]
    unread = len(rows) - len(columns)
    first = layer.weight.shape[0]
    for number, block in enumerate(rows):
        together = [block] if number < unread else [block, columns[number - unread]]
        yield int(layer.neurons.age[first]), together
        first += block.weight.shape[0]


def place_loaded(layer, keys) -> None:
    """Put blocks that were built for a checkpoint into the optimizer, in the order of birth.

    The whole chain of layers is put in order: an optimizer's own state is read by position.
    """
    while layer.producer is not None:
        layer = layer.producer
    found, adults = [], set()
    while layer is not None:
        for age, blocks in born_together(layer):
            adults |= {block for block in blocks if age >= layer.config.adult_age}
        for block in layer.blocks:
            link, tag = layer._link_of(block), MATURE if block in adults else YOUNG
            if link is not None and not link.has_elsewhere(block):
                found.append((int(block.order), block, link, tag))
        layer = layer.consumer
    if any(id(block.weight) not in moved_by(link.optimizer) for _, block, link, _ in found):
        for _, block, link, tag in sorted(found, key=lambda each: each[0]):
            link.place(block, tag)
