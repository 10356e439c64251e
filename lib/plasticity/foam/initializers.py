"""How newborns start.

A newborn whose down column, up row or gate row is zero changes nothing; exactly one of them may be
zero, or no gradient reaches it (with gate and up both zero it is dead for ever).

``gradmax``
    The row (or column) whose gradient at birth is largest. With a gate, the newborn takes the gate
    of its source, and is optimal given that gate.
``copy_noise``
    The reference's rule: the rows of the source, plus noise, orthogonalised.
``split``
    The source's rows; its column is shared between the two, unevenly, so that they part.
``pair``
    Two newborns of the same rows whose columns cancel.
``random``
    Normal rows of the mean norm of the rows that exist.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from plasticity.foam.configuration import GrowthConfig
from plasticity.foam.directions import (
    apart,
    in_order,
    orthogonalize,
    row_space,
    singular_directions,
    unchanged,
    unit_rows,
)
from plasticity.foam.distributed import whole
from plasticity.foam.feed_forward import FeedForward
from plasticity.foam.layer import GrowableLayer

SHARE_KEPT = 0.6  # of a split column, by the source; halves would stay equal for ever
REFINEMENTS = 20


class GrowthSkipped(RuntimeError):
    """An event that cannot take place now; nothing was changed."""


@dataclass
class Newborns:
    """Rows of newborns, float32: gate and up (k, d), down as rows (k, outputs), biases (k,).

    `sigma`, shape (k,), is known for gradmax: the gradient's norm at birth, by unit of scale.
    """

    gate: Tensor | None
    up: Tensor
    down: Tensor
    gate_bias: Tensor | None = None
    up_bias: Tensor | None = None
    sigma: Tensor | None = None


def value_and_slope(activation, points: Tensor) -> tuple[Tensor, Tensor]:
    """Return an elementwise function and its derivative.

    Examples
    --------
    >>> value_and_slope(torch.nn.SiLU(), torch.zeros(1))
    (tensor([0.]), tensor([0.5000]))
    """
    with torch.enable_grad():
        points = points.detach().requires_grad_(True)
        values = activation(points.clone())  # which some change in place
        [slopes] = torch.autograd.grad(values.sum(), points)
    return values.detach(), slopes


def at_zero(block: FeedForward) -> tuple[float, float]:
    """Return the value and the slope at 0 of a block's activation, in the block's type."""
    device = "cpu" if block.device.type == "meta" else block.device
    points = torch.zeros(1, 1, 1, dtype=block.dtype, device=device)  # as tokens come
    value, slope = value_and_slope(block.activation, points)
    return float(value), float(slope)


def check_zero(block: FeedForward, zero: str) -> None:
    """Raise ValueError if newborns with that part zero would change the function, or be dead."""
    if zero == "gate" and block.gate is None:
        raise ValueError(
            f"{block.name or 'the block'} has no gate that zero='gate' could leave at zero; "
            "use zero='down'"
        )
    if zero == "gate" or (zero == "up" and block.gate is None):
        value, slope = at_zero(block)
        if value != 0 or slope == 0:
            raise ValueError(
                f"zero={zero!r} needs an activation with f(0) = 0 and f'(0) not 0, got "
                f"{value:g} and {slope:g}: newborns would change the function, or "
                "have no gradient; use zero='down'"
            )


def make_newborns(
    layer: GrowableLayer,
    sources: Tensor,
    generator: torch.Generator,
    pairs: tuple[Tensor, Tensor] | None = None,
    reduce: Callable[[Tensor], Tensor] = unchanged,
) -> Newborns:
    """Return the weights of newborns, one for each source; the layer is not changed.

    Parameters
    ----------
    layer : GrowableLayer
    sources : Tensor
        Numbers of the neurons that they start from, int64, shape (k,).
    generator : torch.Generator
        The only source of randomness, on the CPU.
    pairs : tuple of Tensor, optional
        Inputs and gradients of outputs, (tokens, d) and (tokens, outputs); needed by gradmax.
    reduce : callable
        Sums a tensor over processes.

    Raises
    ------
    GrowthSkipped
        If gradmax has no tokens to look at, or their gradients are zero or not finite; if copies
        lie in the span of the rows that they are to be orthogonal to.
    """
    start = _Start(layer, sources, generator)
    config = layer.config
    if config.init == "split":
        return start.split()
    if config.init == "pair":
        return start.pair()
    if config.init == "gradmax":
        return _gradmax(start, config, _usable(pairs, reduce), reduce)
    newborns = start.random() if config.init == "random" else start.copy(config.noise)
    if config.init == "copy_noise" and config.orthogonalize != "none":
        newborns.up = _contrastive(start, newborns.up)
    return start.with_zero(newborns, config.zero)


class _Start:
    """The rows that newborns of one event start from."""

    def __init__(self, layer: GrowableLayer, sources: Tensor, generator: torch.Generator):
        self.layer, self.sources, self.generator = layer, sources, generator
        self.count = len(sources)
        self.gate = None if layer.block.gate is None else layer.rows("gate").float()
        self.up = layer.rows("up").float()
        self.down = layer.rows("down").float()

    def noise(self, rows: Tensor) -> Tensor:
        """Return normal rows of norm about 1, as many as newborns, as long as `rows`."""
        shape = (self.count, rows.shape[1])
        drawn = torch.randn(shape, generator=self.generator) / shape[1] ** 0.5
        return drawn.to(self.up.device)

    def scale(self, rows: Tensor) -> Tensor:
        """Return the norm that newborn rows get: the mean of those in use, times the scale."""
        norms = rows[self.layer.neurons.active].norm(dim=1)
        return norms.mean() * self.layer.config.init_scale

    def biases(self, copied: bool) -> dict:
        """Return the biases: the sources', or zero."""
        found = {}
        for name, part in (("gate_bias", self.layer.block.gate), ("up_bias", self.layer.block.up)):
            if part is not None and part.bias is not None:
                every = [part.bias, *(getattr(cohort, name) for cohort in self.layer.cohorts)]
                bias = torch.cat([whole(each.detach()) for each in every]).float()[self.sources]
                found[name] = bias if copied else torch.zeros_like(bias)
        return found

    def copy(self, noise: float) -> Newborns:
        """Return the sources' rows plus noise, relative to each row's size."""

        def near(rows: Tensor) -> Tensor:
            own = rows[self.sources]
            return own + noise * own.norm(dim=1, keepdim=True) * self.noise(rows)

        gate = None if self.gate is None else near(self.gate)
        return Newborns(gate, near(self.up), near(self.down), **self.biases(copied=True))

    def random(self) -> Newborns:
        """Return random rows of the norm that newborns get."""
        gate = (
            None if self.gate is None else unit_rows(self.noise(self.gate)) * self.scale(self.gate)
        )
        up = unit_rows(self.noise(self.up)) * self.scale(self.up)
        down = unit_rows(self.noise(self.down)) * self.scale(self.down)
        return Newborns(gate, up, down, **self.biases(copied=False))

    def split(self) -> Newborns:
        newborns = self.copy(noise=0.0)
        newborns.down = newborns.down * (1 - SHARE_KEPT)
        return newborns

    def pair(self) -> Newborns:
        if self.count % 2:
            raise GrowthSkipped(f"init='pair' makes newborns by two, got {self.count} sources")
        first = torch.arange(self.count, device=self.up.device) // 2 * 2
        newborns = self.copy(self.layer.config.noise)
        down = unit_rows(self.noise(self.down)) * self.scale(self.down)
        signs = torch.ones(self.count, 1, device=self.up.device)
        signs[1::2] = -1
        for name in ("gate", "up", "gate_bias", "up_bias"):
            rows = getattr(newborns, name)
            setattr(newborns, name, None if rows is None else rows[first])
        newborns.down = down[first] * signs
        return newborns

    def with_zero(self, newborns: Newborns, zero: str) -> Newborns:
        """Set one part to zero, and the bias that goes with it."""
        for name in (zero, f"{zero}_bias"):
            rows = getattr(newborns, name, None)
            if rows is not None:
                setattr(newborns, name, torch.zeros_like(rows))
        return newborns

    def nearest(self) -> Tensor:
        """Return an orthonormal basis of the rows most similar to the sources', the sources not."""
        allowed = self.layer.neurons.active.clone()
        allowed[self.sources] = False
        similar = (unit_rows(self.up) @ unit_rows(self.up[self.sources]).T).abs().amax(1)
        similar[~allowed] = -1
        count = min(self.layer.config.nearest_rows, int(allowed.sum()), self.up.shape[1] // 2)
        return row_space(self.up[similar.topk(count).indices]).float()


def _contrastive(start: _Start, rows: Tensor) -> Tensor:
    """Make copied rows orthogonal to each other, and to similar rows if so configured."""
    try:
        if start.layer.config.orthogonalize == "nearest":
            rows = orthogonalize(rows, start.nearest())
        return apart(rows)
    except ValueError as error:
        raise GrowthSkipped(str(error)) from error


def _usable(pairs, reduce) -> tuple[Tensor, Tensor]:
    if pairs is None:
        raise GrowthSkipped(
            "init='gradmax' has seen no gradients yet; train for a step first, or pass growth_batch"
        )
    total = reduce(pairs[1].double().square().sum())
    if not bool(torch.isfinite(total)) or float(total) == 0:
        raise GrowthSkipped(
            "init='gradmax' needs gradients of the outputs that are finite and not all zero, got "
            f"a sum of squares of {float(total)}; pass another growth_batch"
        )
    return pairs


def _gradmax(start: _Start, config: GrowthConfig, pairs, reduce) -> Newborns:
    inputs, gradients = pairs
    activation = start.layer.block.activation
    newborns = start.copy(config.noise)
    if start.gate is None:
        weights = inputs.new_full((len(inputs), 1), at_zero(start.layer.block)[1] or 1.0)
    elif config.zero == "gate":
        newborns.up = unit_rows(newborns.up) * start.scale(start.up)
        _, slope = at_zero(start.layer.block)
        bias = 0 if newborns.up_bias is None else newborns.up_bias
        weights = slope * (inputs @ newborns.up.T + bias)
    else:
        bias = 0 if newborns.gate_bias is None else newborns.gate_bias
        weights = activation(inputs @ newborns.gate.T + bias)
    found = singular_directions(
        inputs,
        gradients,
        weights,
        unit_rows(start.up[start.sources]) + start.noise(start.up),
        distinct=config.orthogonalize != "none" or start.gate is None,
        avoid=start.nearest() if config.orthogonalize == "nearest" else None,
        reduce=reduce,
    )
    newborns.sigma = found.sigma
    newborns.down = found.left * start.scale(start.down)
    if config.zero == "down":
        newborns.up = found.right * start.scale(start.up)
        if start.gate is None:
            _refine(start, newborns, pairs, reduce)
        newborns.up_bias = None if newborns.up_bias is None else newborns.up_bias * 0
    return start.with_zero(newborns, config.zero)


def _refine(start: _Start, newborns: Newborns, pairs, reduce) -> None:
    """Without a gate the row acts through the activation itself: climb from the linear optimum.

    Each step is a power iteration at the slopes of the present rows; the best rows seen are kept.
    """
    inputs, gradients = pairs
    length = start.scale(start.up)
    apart = start.count <= inputs.shape[1]
    rows = newborns.up
    best = rows.new_zeros(len(rows))
    for _ in range(REFINEMENTS):
        values, slopes = value_and_slope(start.layer.block.activation, inputs @ rows.T)
        column = reduce(values.T @ gradients)
        sigma = column.norm(dim=1) / length
        better = sigma > best
        newborns.up = torch.where(better[:, None], rows, newborns.up)
        best = torch.maximum(best, sigma)
        if not bool(better.any()):
            break
        back = reduce(((gradients @ unit_rows(column).T) * slopes).T @ inputs)
        rows = (in_order(back) if apart else unit_rows(back)) * length
    newborns.sigma = best
