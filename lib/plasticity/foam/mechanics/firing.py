"""Which rules would let a model grow, step by step: on noise, and on text that suddenly changes."""

import dataclasses
from collections.abc import Iterator

import torch

from plasticity.foam.linear import GrowableLinear
from plasticity.foam.model import GrowableModel
from plasticity.foam.neurons import Neurons
from plasticity.foam.triggers import Clock, candidates, pressure_rises

RULES = ("percentile", "pooled_percentile", "pressure_ratio", "plateau")


def firing(model: GrowableModel) -> dict[str, bool]:
    """Tell for each rule whether it would let a model grow now; the cooldown is left out of it.

    Parameters
    ----------
    model : GrowableModel

    Returns
    -------
    dict
        ``percentile``: a neuron exceeds the percentile of its own layer, as the reference writes;
        ``pooled_percentile``: of all layers' neurons; ``pressure_ratio``: a layer's pressure
        exceeds its own past; ``plateau``: the loss stands still.
    """
    config, layers = model.growth_config, list(model.layers)

    def named(scope: str) -> bool:
        found = candidates(layers, dataclasses.replace(config, percentile_scope=scope))
        return any(len(sources) for sources in found)

    return {
        "percentile": named("layer"),
        "pooled_percentile": named("global"),
        "pressure_ratio": any(pressure_rises(layer) for layer in layers),
        "plateau": model.clock.stands_still(config.plateau_threshold),
    }


def pressure_beside_past(model: GrowableModel) -> float:
    """Return the largest ratio, over layers, of pressure now to the median of its past."""
    ratios = []
    for layer in model.layers:
        now, past = layer.neurons.pressure_and_past()
        ratios.append(now / float(past.median()))
    return max(ratios)


def on_noise(model: GrowableModel, size: float, steps: int, seed: int) -> Iterator[dict[str, bool]]:
    """Yield what fires while gradients are nothing but noise and the loss a constant.

    Parameters
    ----------
    model : GrowableModel
        Its statistics are started afresh, and left as noise made them.
    size : float
        Largest gradient norm; norms are drawn uniformly.
    steps, seed : int
    """
    config = model.growth_config
    generator = torch.Generator().manual_seed(seed)
    model.clock = Clock(config.plateau_window)
    for layer in model.layers:
        width = layer.block.width
        layer.neurons = Neurons(width, config.maturation_age, config.pressure_window)
    for _ in range(steps):
        for layer in model.layers:
            norms = size * torch.rand(len(layer.neurons), generator=generator)
            layer.neurons.update_pressure(norms, config.ema_beta, config.max_growth_per_step)
        model.clock.add_loss(1 + 0.01 * float(torch.rand((), generator=generator)))
        yield firing(model)


def reference_layer_on_noise(size: float, steps: int, seed: int) -> float:
    """Return how often the README's own call, `check_growth`, says yes to gradients of noise.

    Parameters
    ----------
    size : float
        Scale of the loss, and with it of all gradients.
    steps, seed : int

    Returns
    -------
    float
        Share of the steps, in [0, 1]; there is no cooldown.

    Examples
    --------
    >>> reference_layer_on_noise(1e-12, steps=20, seed=0)
    1.0
    """
    generator = torch.Generator().manual_seed(seed)
    layer = GrowableLinear(16, 48, growth_cooldown=0)
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.0)
    said = []
    for _ in range(steps):
        inputs = torch.randn(8, 16, generator=generator)
        optimizer.zero_grad()
        (size * layer(inputs) * torch.randn(8, 48, generator=generator)).sum().backward()
        optimizer.step()
        said.append(layer.check_growth()[0])
    return sum(said) / len(said)


def plateau_keeps_its_word(window: int = 100, threshold: float = 0.01) -> bool:
    """Tell whether the plateau rule does what the README says of it.

    It must fire on a flat loss, but not before the window is full, not on a falling loss, and not
    again until a whole window has passed after an event.

    Examples
    --------
    >>> plateau_keeps_its_word()
    True
    """
    flat, falling = Clock(window), Clock(window)
    early = []
    for step in range(window):
        early.append(flat.stands_still(threshold))
        flat.add_loss(2.0 + 1e-3 * (step % 2))
        falling.add_loss(2.0 - step / window)
    fires = flat.stands_still(threshold)
    flat.grew()
    for _ in range(window - 1):
        flat.add_loss(2.0)
    waits = not flat.stands_still(threshold)
    flat.add_loss(2.0)
    again = flat.stands_still(threshold)
    return fires and waits and again and not any(early) and not falling.stands_still(threshold)
