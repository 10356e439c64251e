"""Which modules of a model are feed-forward blocks, and how to read their neurons.

A block is recognised by the names and shapes of its layers: with a gate (Llama, Qwen, Mistral,
Gemma), without one (GPT-2, whose Conv1D keeps its weights transposed; Phi; GPT-NeoX), or as a plain
`nn.Sequential` of two linear layers; then it is run once, to see that it computes what was read
into it. Everything else works on the `FeedForward` made here.
"""

import re
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from plasticity.foam.configuration import GrowthConfig
from plasticity.foam.distributed import whole

GATED = (("gate_proj", "up_proj", "down_proj"), ("w1", "w3", "w2"))
UNGATED = (
    ("c_fc", "c_proj"),
    ("fc1", "fc2"),
    ("dense_h_to_4h", "dense_4h_to_h"),
    ("up_proj", "down_proj"),
)
FUSED = ("gate_up_proj",)
ACTIVATIONS = ("act_fn", "act", "activation_fn", "activation")
SUPPORTED = "Llama, Qwen2/3, Mistral, Gemma, GPT-2, Phi, GPT-NeoX, or nn.Sequential of two Linear"


class UnsupportedArchitecture(ValueError):
    """A model, or a part of it, that cannot grow without changing what it computes."""


def is_transposed(layer: nn.Module) -> bool:
    """Tell whether a layer keeps its weight as (inputs, outputs), as GPT-2's Conv1D does."""
    return type(layer).__name__ == "Conv1D"


def is_quantised(layer: nn.Module) -> bool:
    """Tell whether a layer's weight is kept in integers (bitsandbytes)."""
    return not layer.weight.is_floating_point()


@dataclass(eq=False)
class FeedForward:
    """A feed-forward block: hidden = activation(gate x) * (up x), or activation(up x); y = down h.

    Attributes
    ----------
    name : str
        Path of the block in its model.
    module : nn.Module
    gate : nn.Module or None
        None for a block without a gate.
    up, down : nn.Module
        `nn.Linear`, Conv1D, or a quantised layer.
    activation : callable
        Elementwise.
    """

    name: str
    module: nn.Module
    gate: nn.Module | None
    up: nn.Module
    down: nn.Module
    activation: object

    @property
    def row_parts(self) -> list[str]:
        """Names of the layers whose rows belong to the neurons: gate and up, or up alone."""
        return ["up"] if self.gate is None else ["gate", "up"]

    @property
    def inputs(self) -> list[nn.Module]:
        """Those layers."""
        return [getattr(self, name) for name in self.row_parts]

    @property
    def quantised(self) -> bool:
        """Whether a weight is kept in integers."""
        return any(is_quantised(layer) for layer in (*self.inputs, self.down))

    @property
    def size(self) -> int:
        """Number of inputs, d."""
        return shape(self.up)[1]

    @property
    def outputs(self) -> int:
        """Number of outputs; d in a language model, any number in a plain MLP."""
        return shape(self.down)[0]

    @property
    def width(self) -> int:
        """Number of neurons of the base, h."""
        return shape(self.up)[0]

    @property
    def parameters_per_neuron(self) -> int:
        """Number of weights and biases that one neuron has."""
        biases = sum(layer.bias is not None for layer in self.inputs)
        return self.size * len(self.inputs) + self.outputs + biases

    @property
    def dtype(self) -> torch.dtype:
        """The type newborn weights have: the base's, or what a quantised base computes in."""
        if self.up.weight.is_floating_point():
            return self.up.weight.dtype
        return getattr(self.up, "compute_dtype", None) or torch.get_default_dtype()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.up.weight.device

    @property
    def trainable(self) -> bool:
        """Whether the rows of the neurons are trained."""
        return any(layer.weight.requires_grad for layer in self.inputs)


def shape(layer: nn.Module) -> tuple[int, int]:
    """Return (outputs, inputs) of a linear layer of any of the kinds."""
    if hasattr(layer, "out_features"):
        return layer.out_features, layer.in_features
    return layer.nf, layer.nx


def weight_of(layer: nn.Module) -> Tensor:
    """Return a layer's weight as floats, shape (outputs, inputs); a view where it can be."""
    if is_quantised(layer):
        from plasticity.foam.quantised import dequantise

        return dequantise(layer)
    weight = whole(layer.weight.detach())
    return weight.T if is_transposed(layer) else weight


def _is_linear(module) -> bool:
    return isinstance(module, nn.Linear) or is_transposed(module)


def _activation(module: nn.Module, name: str):
    for attribute in ACTIVATIONS:
        if callable(getattr(module, attribute, None)):
            return getattr(module, attribute)
    raise UnsupportedArchitecture(
        f"{name} has no activation under any of {ACTIVATIONS}, got a {type(module).__name__}; "
        f"supported: {SUPPORTED}"
    )


def _sequential(name: str, module: nn.Sequential) -> FeedForward | None:
    layers = [layer for layer in module if not isinstance(layer, nn.Dropout | nn.Identity)]
    if len(layers) != 3 or not (_is_linear(layers[0]) and _is_linear(layers[2])):
        return None
    return FeedForward(name, module, None, layers[0], layers[2], layers[1])


def recognise(name: str, module: nn.Module) -> FeedForward | None:
    """Return the feed-forward block that a module is, or None.

    Raises
    ------
    UnsupportedArchitecture
        If it is one, but cannot grow: fused gate and up, a normalisation over the neurons.

    Examples
    --------
    >>> block = recognise("ffn", nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 4)))
    >>> block.size, block.width
    (4, 8)
    """
    if isinstance(module, nn.Sequential):
        block = _sequential(name, module)
        return None if block is None else _checked(block)
    children = dict(module.named_children())
    fused = [child for child in FUSED if _is_linear(children.get(child))]
    if fused:
        raise UnsupportedArchitecture(
            f"{name}.{fused[0]} keeps gate and up rows in one matrix, whose halves would have to "
            "grow apart; split it into gate_proj and up_proj first (as Llama has them), or leave "
            "the block out with target_modules"
        )
    for names in (*GATED, *UNGATED):
        if not all(_is_linear(children.get(child)) for child in names):
            continue
        layers = [children.pop(child) for child in names]
        for child, other in children.items():
            sizes = [parameter.shape for parameter in other.parameters()]
            if sizes and sizes[0] == (shape(layers[-1])[1],):
                raise UnsupportedArchitecture(
                    f"{name}.{child} normalises over the neurons, so that a newborn would change "
                    "what the old ones say; leave the block out with target_modules"
                )
            if sizes:  # a whole transformer layer, say: more than a feed-forward block
                return None
        gate = layers[0] if len(names) == 3 else None
        block = FeedForward(name, module, gate, *layers[-2:], _activation(module, name))
        return _checked(block)
    return None


def _checked(block: FeedForward) -> FeedForward:
    widths = {shape(layer)[0] for layer in block.inputs} | {shape(block.down)[1]}
    if len(widths) > 1:
        raise UnsupportedArchitecture(
            f"{block.name}: its layers have different widths {sorted(widths)}; gate, up and down "
            "must share one: leave the block out with target_modules"
        )
    weights = [layer.weight for layer in (*block.inputs, block.down)]
    if len({id(weight) for weight in weights}) < len(weights):
        raise UnsupportedArchitecture(
            f"{block.name}: two of its layers share one weight, which cannot grow in two "
            "directions; untie them (clone the parameter), or leave the block out"
        )
    if block.device.type == "meta":
        return block
    modes = [(module, module.training) for module in block.module.modules()]
    if not block.quantised:  # bitsandbytes packs 4-bit layers anew when they are evaluated
        block.module.eval()
    try:
        _check_elementwise(block)
        _compare(block)
    finally:
        for module, mode in modes:
            module.training = mode
    return block


def _points(block: FeedForward, *sizes: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*sizes, generator=generator).to(block.device, block.dtype)


@torch.no_grad()
def _check_elementwise(block: FeedForward) -> None:
    """Raise unless the activation of one neuron is the same without the others."""
    points, cause = _points(block, 1, 2, block.width + 1), None
    try:
        alone = block.activation(points[..., :1].clone())
        same = torch.allclose(block.activation(points)[..., :1], alone, rtol=1e-2, atol=1e-3)
    except (RuntimeError, TypeError, ValueError, IndexError) as error:
        same, cause = False, error  # made for one width, or one number of axes
    if not same:
        kind = getattr(block.activation, "__name__", type(block.activation).__name__)
        raise UnsupportedArchitecture(
            f"{block.name or 'the block'}: its activation {kind} does not act on each neuron by "
            f"itself{f' ({cause})' if cause else ''}, so that a newborn would change what the old "
            "ones say; use an elementwise one (ReLU, GELU, SiLU, PReLU with one parameter), or "
            "leave the block out with target_modules"
        ) from cause


@torch.no_grad()
def _compare(block: FeedForward) -> None:
    """Run the block, and what was read into it, on the same two tokens."""
    tokens = _points(block, 1, 2, block.size)
    try:
        hidden = block.activation(block.inputs[0](tokens))
        read = block.down(hidden if block.gate is None else hidden * block.up(tokens))
        ran = block.module(tokens)
    except (RuntimeError, TypeError) as error:
        raise UnsupportedArchitecture(
            f"{block.name} does not run on one tensor of (batch, tokens, {block.size}): {error}; "
            f"supported: {SUPPORTED}"
        ) from error
    if not isinstance(ran, Tensor) or not torch.allclose(ran, read, rtol=1e-2, atol=1e-3):
        raise UnsupportedArchitecture(
            f"{block.name} computes something else than its layers in a row, "
            f"activation(gate) * up, then down; supported: {SUPPORTED}"
        )


def _wanted(name: str, config: GrowthConfig) -> bool:
    target = config.target_modules
    if target is None:
        return True
    if isinstance(target, str):
        return re.fullmatch(target, name) is not None or name.split(".")[-1] == target
    return any(name == each or name.endswith(f".{each}") for each in target)


def find_blocks(model: nn.Module, config: GrowthConfig) -> list[FeedForward]:
    """Return the blocks of a model that a configuration lets grow, in the model's order.

    A module that the model uses in two places is one block.

    Parameters
    ----------
    model : nn.Module
    config : GrowthConfig

    Raises
    ------
    UnsupportedArchitecture
        If none is found, or one that is wanted cannot grow.

    Examples
    --------
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))
    >>> len(find_blocks(model, GrowthConfig()))
    1
    """
    blocks, owners = [], {}
    for name, module in model.named_modules():
        block = recognise(name, module) if _wanted(name, config) else None
        if block is None:
            continue
        for layer in (*block.inputs, block.down):
            owner = owners.setdefault(id(layer.weight), name)
            if owner != name:
                raise UnsupportedArchitecture(
                    f"{name} and {owner} share a weight, which would have to grow twice; untie "
                    "them, or name only one of them in target_modules"
                )
        blocks.append(block)
    if not blocks:
        raise UnsupportedArchitecture(
            f"no feed-forward block found in {type(model).__name__} with target_modules="
            f"{config.target_modules!r}; supported: {SUPPORTED}. Make the part that is to grow an "
            "nn.Sequential of two Linear and an activation, or a block named as Llama's (experts "
            "that keep their weights in one tensor cannot grow)"
        )
    return _selected(blocks, config.layers_to_transform)


def _selected(blocks: list[FeedForward], numbers: list[int] | None) -> list[FeedForward]:
    if numbers is None:
        return blocks
    outside = [number for number in numbers if not 0 <= number < len(blocks)]
    if outside or not numbers:
        raise ValueError(
            f"layers_to_transform must name blocks in [0, {len(blocks)}), got {numbers}"
        )
    return [blocks[number] for number in sorted(set(numbers))]
