"""A feed-forward block that gains neurons while its own weights stay where they are.

Neurons born in one event are a cohort: three small parameters beside the block, whose contribution
is added to the block's output by a hook. At an event the block and all cohorts run as before, and
the newborns, of which one part is zero, in products of their own, so that they change nothing, bit
for bit. From their first step on, when all weights have moved, cohorts share their products. The
optimizer's state of the old weights is never touched.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plasticity.foam.configuration import GrowthConfig
from plasticity.foam.distributed import whole
from plasticity.foam.feed_forward import FeedForward, is_transposed, weight_of
from plasticity.foam.neurons import Neurons
from plasticity.foam.recording import Recorder

PARTS = ("gate", "up", "down", "gate_bias", "up_bias")


class Cohort(nn.Module):
    """Neurons born together: rows of gate and up, columns of down, biases where the base has them.

    Parameters
    ----------
    width : int
        Number of neurons k.
    block : FeedForward
        Whose kind, types and device they take over.

    Attributes
    ----------
    gate, up : nn.Parameter
        Shape (k, d); `gate` is None without a gate.
    down : nn.Parameter
        Shape (outputs, k); outputs are d in a language model.
    gate_bias, up_bias : nn.Parameter or None
        Shape (k,).
    """

    def __init__(self, width: int, block: FeedForward):
        super().__init__()
        kind = {"dtype": block.dtype, "device": block.device}
        shapes = {"up": (width, block.size), "down": (block.outputs, width)}
        if block.gate is not None:
            shapes["gate"] = (width, block.size)
            if block.gate.bias is not None:
                shapes["gate_bias"] = (width,)
        if block.up.bias is not None:
            shapes["up_bias"] = (width,)
        for name in PARTS:
            found = nn.Parameter(torch.zeros(shapes[name], **kind)) if name in shapes else None
            self.register_parameter(name, found)

    @property
    def width(self) -> int:
        """Number of slots k, those not in use included."""
        return self.up.shape[0]


class GrowableLayer(nn.Module):
    """The growing part of one feed-forward block.

    Parameters
    ----------
    block : FeedForward
        Stays a part of its own model; only a hook is put on it.
    config : GrowthConfig

    Attributes
    ----------
    cohorts : nn.ModuleList
        In order of birth; with `reserve_events`, all of them from the start.
    together : int
        How many cohorts, from the first on, share their products.
    neurons : Neurons
        Statistics of all slots: the base, then each cohort.
    enabled : bool
        False: the block is what it was before it grew.
    """

    def __init__(self, block: FeedForward, config: GrowthConfig):
        super().__init__()
        self.block = block
        self.config = config
        self.enabled = True
        self.cohorts = nn.ModuleList()
        self.together = 0
        self.neurons = Neurons(
            block.width, config.maturation_age, config.pressure_window, block.device
        )
        self.recorder = Recorder(self)
        self.handles = [
            block.module.register_forward_hook(self._add, with_kwargs=True),
            *self.recorder.watch(block),
        ]
        for _ in range(config.reserve_events):
            self.add_cohort(self.padded(config.max_growth_per_step))
        self.join()
        self.register_load_state_dict_post_hook(_joined_anew)

    def padded(self, count: int) -> int:
        """Return the width of a cohort of `count` neurons."""
        multiple = self.config.pad_multiple
        return -(-count // multiple) * multiple

    def add_cohort(self, width: int) -> Cohort:
        """Make room for neurons, as zeros; they are not born by this."""
        cohort = Cohort(width, self.block)
        self.cohorts.append(cohort)
        self.neurons.extend(width)
        return cohort

    def remove_last_cohort(self) -> None:
        """Undo `add_cohort`."""
        width = self.cohorts[-1].width
        del self.cohorts[-1]
        self.neurons.shrink(len(self.neurons) - width)

    def join(self) -> None:
        """Let cohorts share products from their first step on; reserved ones from the start.

        Those keep their places: what is born into zeros of a product leaves its other sums alone.
        """
        while self.together < len(self.cohorts) and (
            self.config.reserve_events
            or bool((self.neurons.age[self.slots(self.together)] > 0).any())
        ):
            self.together += 1

    def slots(self, number: int) -> Tensor:
        """Return the numbers, among all neurons of the layer, of a cohort's slots."""
        widths = [cohort.width for cohort in self.cohorts]
        start = self.block.width + sum(widths[:number])
        return torch.arange(start, start + widths[number], device=self.neurons.age.device)

    def free_cohort(self) -> int | None:
        """Return the number of the first cohort that nobody was ever born into, or None."""
        for number in range(len(self.cohorts)):
            if bool((self.neurons.birth[self.slots(number)] < 0).all()):
                return number
        return None

    @property
    def born(self) -> int:
        """Number of neurons alive that the base did not have."""
        return int(self.neurons.active[self.block.width :].sum())

    def joined(self, name: str) -> Tensor | None:
        """Return one part of all cohorts as one tensor; neurons are rows, in `down` columns."""
        parts = [getattr(cohort, name) for cohort in self.cohorts]
        if not parts or parts[0] is None:
            return None
        return _side_by_side(parts, dim=1 if name == "down" else 0)

    def rows(self, name: str) -> Tensor:
        """Return gate, up or down of all neurons, detached, one row a neuron, shape (neurons, ...).

        Examples
        --------
        >>> from plasticity.foam.feed_forward import recognise
        >>> mlp = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 4))
        >>> GrowableLayer(recognise("", mlp), GrowthConfig()).rows("down").shape
        torch.Size([8, 4])
        """
        base = weight_of(getattr(self.block, name))
        base = base.T if name == "down" else base
        parts = [whole(getattr(cohort, name).detach()) for cohort in self.cohorts]
        parts = [part.T if name == "down" else part for part in parts]
        return torch.cat([base.to(self.block.dtype), *parts]) if parts else base

    def hidden(self, inputs: Tensor) -> Tensor:
        """Return the activations of all cohorts' neurons, shape (..., slots)."""
        found = [_activations(group, inputs, self.block) for group in self._groups()]
        return torch.cat(found, dim=-1)

    def _groups(self) -> list[list[Cohort]]:
        """Return the cohorts that share products, and each of the others by itself."""
        cohorts = list(self.cohorts)
        alone = [[cohort] for cohort in cohorts[self.together :]]
        return [cohorts[: self.together], *alone] if self.together else alone

    def _grown(self, inputs: Tensor, output: Tensor) -> Tensor:
        """Return the block's output with what the cohorts add to it, shape (..., outputs).

        The latest have products of their own: in a wider one the sums of the others would round
        otherwise.
        """
        groups = self._groups()
        hidden = [_activations(group, inputs, self.block) for group in groups]
        if not torch.compiler.is_compiling() and self.recorder.observing and self.training:
            self.recorder.observe(torch.cat(hidden, dim=-1).detach(), self.block.width)
        for each, group in zip(hidden, groups, strict=True):
            output = _plus(output, each, _side_by_side([cohort.down for cohort in group], dim=1))
        return output

    def _add(self, module, arguments, keywords, output):
        inputs = arguments[0] if arguments else next(iter(keywords.values()))
        if self.enabled and len(self.cohorts):
            output = self._grown(inputs.to(self.block.dtype), output)
        if torch.compiler.is_compiling():
            return output
        if self.recorder.passes is not None:
            return self.recorder.note(inputs, output)
        if self.recorder.recording:
            self.recorder.record(inputs, output)
        return output

    @torch.no_grad()
    def gradient_norms(self) -> Tensor:
        """Return the norm of the gradient of each neuron's rows, shape (neurons,), float32.

        NaN where a neuron has no gradient. A frozen base gives upper bounds, from its
        activations: the sum over tokens of ``abs(dL/dz)`` times the norm of the input, z being
        what the rows give.
        """
        norms = torch.full((len(self.neurons),), float("nan"), device=self.neurons.age.device)
        width = self.block.width
        if self.block.trainable:
            found = [_norms(layer.weight, is_transposed(layer)) for layer in self.block.inputs]
            norms[:width] = _together(found)
        else:
            bounds = self.recorder.take_bounds()
            if bounds is not None:
                norms[:width] = bounds
        for number, cohort in enumerate(self.cohorts):
            rows = [_norms(getattr(cohort, name)) for name in self.block.row_parts]
            norms[self.slots(number)] = _together(rows)
        return norms

    def detach_hooks(self) -> None:
        """Take the hooks off the block: it is as it was."""
        for handle in self.handles:
            handle.remove()

    def _load_from_state_dict(self, state_dict, prefix, *arguments):
        """Make room for the cohorts of a checkpoint, or give up what it does not have."""
        start = f"{prefix}cohorts."
        widths = {
            int(key[len(start) :].split(".")[0]): len(value)
            for key, value in state_dict.items()
            if key.startswith(start) and key.endswith(".up")
        }
        found = [cohort.width for cohort in self.cohorts]
        if [widths[number] for number in sorted(widths)] != found:
            while len(self.cohorts):
                self.remove_last_cohort()
            for number in sorted(widths):
                self.add_cohort(widths[number])
        super()._load_from_state_dict(state_dict, prefix, *arguments)


def _joined_anew(layer: GrowableLayer, keys) -> None:
    """Let the cohorts of a checkpoint share products as they did where it was written."""
    layer.together = 0
    layer.join()


def _norms(parameter: nn.Parameter, transposed: bool = False) -> Tensor | None:
    """Return the norm of the gradient of each row, float32, or None without a gradient."""
    if parameter.grad is None:
        return None
    dim = 0 if transposed else 1
    return whole(torch.linalg.vector_norm(parameter.grad, dim=dim, dtype=torch.float32))


def _side_by_side(parts: list[Tensor], dim: int = 0) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim)


def _activations(cohorts: list[Cohort], inputs: Tensor, block: FeedForward) -> Tensor:
    """Return the activations of neurons, (..., k), of inputs of (..., d): one product for all."""
    names = block.row_parts
    rows = [getattr(cohort, name) for name in names for cohort in cohorts]
    biases = [getattr(cohort, f"{name}_bias") for name in names for cohort in cohorts]
    bias = None
    if any(each is not None for each in biases):
        pairs = zip(biases, rows, strict=True)
        bias = _side_by_side([r.new_zeros(len(r)) if b is None else b for b, r in pairs])
    found = F.linear(inputs, _side_by_side(rows), bias)
    if block.gate is None:
        return block.activation(found)
    width = found.shape[-1] // 2
    return block.activation(found[..., :width]) * found[..., width:]


def _plus(output: Tensor, hidden: Tensor, down: Tensor) -> Tensor:
    """Return output + hidden @ down.T, in one pass over the output where types allow it."""
    kind = output.device.type
    cast = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) != output.dtype
    if cast or output.dtype != hidden.dtype:
        return output + F.linear(hidden, down).to(output.dtype)
    flat = output.reshape(-1, output.shape[-1])
    return torch.addmm(flat, hidden.reshape(-1, hidden.shape[-1]), down.T).view(output.shape)


def _together(norms: list[Tensor | None]) -> Tensor | float:
    """Return the norms of rows that consist of several parts; NaN without any gradient."""
    found = [each for each in norms if each is not None]
    return torch.stack(found).norm(dim=0) if found else float("nan")
