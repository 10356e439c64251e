"""When and where a model grows.

A percentile of a vector taken inside that vector only ranks: about a tenth of its entries exceed
their own 90th percentile, however small they are. So there are two questions here: which neurons
are the candidates, and is there a reason to grow at all.
"""

import torch
from torch import Tensor, nn

from plasticity.foam import distributed
from plasticity.foam.configuration import GrowthConfig
from plasticity.foam.layer import GrowableLayer
from plasticity.foam.neurons import KeepsTypes

TINY = 1e-12


def percentile_threshold(values: Tensor, percentile: float) -> float:
    """Return the value below which `percentile` percent of the finite values lie.

    By selection, not by `torch.quantile`, which refuses bfloat16 and more than 2**24 values; the
    value returned is always one of those given.

    Parameters
    ----------
    values : Tensor
        Shape (n,), any floating type; values that are not finite are left out.
    percentile : float
        In [0, 100).

    Examples
    --------
    >>> percentile_threshold(torch.arange(11.0), 90)
    9.0
    """
    finite = values[torch.isfinite(values)].float()
    if not len(finite):
        return float("inf")
    rank = 1 + round((len(finite) - 1) * percentile / 100)
    return float(finite.kthvalue(rank).values)


def relative_pressure(layer: GrowableLayer) -> Tensor:
    """Return the running mean of gradient norms, relative to the norm of the neuron's rows.

    Raw norms differ by orders of magnitude with depth: without this, one layer would gain all.
    """
    names = layer.block.row_parts
    norms = sum(layer.rows(name).float().square().sum(1) for name in names).sqrt()
    return layer.neurons.corrected_pressure(layer.config.ema_beta) / (norms + TINY)


def eligible(layer: GrowableLayer) -> Tensor:
    """Return which neurons may be ranked: mature, and with a running mean that has settled."""
    settled = 1 / (1 - layer.config.ema_beta)
    neurons = layer.neurons
    return neurons.mature(layer.config.maturation_age) & (neurons.updates >= settled)


def candidates(layers: list[GrowableLayer], config: GrowthConfig) -> list[Tensor]:
    """Return the numbers of each layer's neurons above the percentile, highest pressure first.

    Parameters
    ----------
    layers : list of GrowableLayer
    config : GrowthConfig

    Returns
    -------
    list of Tensor
        int64, one for each layer.
    """
    pooled = config.percentile_scope == "global"
    scores = []
    for layer in layers:
        score = (
            relative_pressure(layer)
            if pooled
            else layer.neurons.corrected_pressure(config.ema_beta)
        )
        scores.append(torch.where(eligible(layer), score, float("nan")))
    percentile = config.gradient_percentile
    if pooled:
        device = scores[0].device
        threshold = percentile_threshold(torch.cat([s.to(device) for s in scores]), percentile)
        thresholds = [threshold] * len(scores)
    else:
        thresholds = [percentile_threshold(score, percentile) for score in scores]
    found = []
    for score, threshold in zip(scores, thresholds, strict=True):
        ranked = torch.nan_to_num(score, nan=-1.0).argsort(descending=True, stable=True)
        above = torch.nan_to_num(score[ranked], nan=-1.0) > max(threshold, 0.0)
        found.append(ranked[above])
    return found


def pressure_rises(layer: GrowableLayer) -> bool:
    """Tell whether a layer's pressure exceeds the median of its own past by the ratio set."""
    neurons, config = layer.neurons, layer.config
    now, past = neurons.pressure_and_past()
    if len(past) < max(2, min(config.warmup_steps, len(neurons.history))):
        return False
    return now > config.pressure_ratio * float(past.median()) and now > TINY


class Clock(KeepsTypes):
    """What a model remembers for the decision to grow: steps, the last event, the last losses.

    Parameters
    ----------
    window : int
        Losses that are kept.

    Examples
    --------
    >>> clock = Clock(window=4)
    >>> for loss in (2.0, 2.0, 2.0, 2.0, float("nan")):
    ...     clock.add_loss(loss)
    >>> clock.stands_still(threshold=0.01)
    True
    """

    def __init__(self, window: int):
        super().__init__()
        for name in ("steps", "last_growth", "events", "losses_seen"):
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))
        self.register_buffer("losses", torch.zeros(window, dtype=torch.float64))

    def add_loss(self, loss: float) -> None:
        """Take one loss into the window; what is not finite is left out."""
        loss = float(loss)
        if loss - loss == 0:
            self.losses[int(self.losses_seen) % len(self.losses)] = loss
            self.losses_seen += 1

    def stands_still(self, threshold: float) -> bool:
        """Tell whether the two halves of a full window differ by less than a relative threshold."""
        seen, window = int(self.losses_seen), len(self.losses)
        if seen < window:
            return False
        ordered = self.losses.roll(-(seen % window))
        before, after = ordered[: window // 2].mean(), ordered[window // 2 :].mean()
        return float((before - after).abs() / before.abs().clamp_min(TINY)) < threshold

    def may_grow(self, config: GrowthConfig) -> bool:
        """Tell whether warm-up and cooldown have passed."""
        steps = int(self.steps)
        return steps >= max(1, config.warmup_steps) and (
            steps - int(self.last_growth) >= config.growth_cooldown
        )

    def grew(self) -> None:
        """Note an event: the cooldown and the window of losses start again."""
        self.last_growth.copy_(self.steps)
        self.events += 1
        self.losses_seen.zero_()


def firing(layers: nn.ModuleList, clock: Clock, config: GrowthConfig) -> list[bool]:
    """Return for each layer whether there is a reason to grow."""
    if config.trigger == "pressure_ratio":
        return [pressure_rises(layer) for layer in layers]
    still = config.trigger == "always" or clock.stands_still(config.plateau_threshold)
    return [still] * len(layers)


def budget(layers: nn.ModuleList, config: GrowthConfig) -> int:
    """Return how many neurons may still be born, in all layers together.

    All neurons of a model count alike: layers of a language model share d, so that each has as
    many parameters. A neuron that takes the place of a retired one costs nothing.
    """
    if config.max_growth_ratio is None:
        return sum(len(layer.neurons) for layer in layers) * 10**6
    base = sum(layer.block.width for layer in layers)
    now = sum(int(layer.neurons.active.sum()) for layer in layers)
    return base + int(base * config.max_growth_ratio) - now


def room(layer: nn.Module, config: GrowthConfig) -> int:
    """Return how many neurons one layer may gain in this event."""
    if config.reserve_events and layer.free_cohort() is None:
        return 0
    if config.max_growth_per_layer is None:
        return config.max_growth_per_step
    gained = int(layer.neurons.active.sum()) - layer.block.width
    return min(config.max_growth_per_step, config.max_growth_per_layer - gained)


def decide(model) -> tuple[dict[int, Tensor], str]:
    """Return the sources of newborns in each layer that is to grow, or why there are none.

    Parameters
    ----------
    model : GrowableModel
    """
    config, layers = model.growth_config, list(model.layers)
    if not model.clock.may_grow(config):
        return {}, "warm-up or cooldown has not passed"
    for layer in layers:
        for name in ("pressure", "history", "mean_square", "mean_absolute"):
            distributed.average_(getattr(layer.neurons, name))
    device = layers[0].neurons.age.device  # where processes can exchange it
    seen = torch.tensor([float(layer.neurons.seen) for layer in layers], device=device)
    distributed.average_(seen)  # all processes have to come to the same decision
    if not bool(seen.any()):
        return {}, (
            "no neuron had a finite gradient in the last step: none at all, or NaN; look for NaN "
            "in the losses, lower the learning rate, and go back to weights from before"
        )
    fires = firing(model.layers, model.clock, config)
    if not any(fires):
        return {}, f"trigger {config.trigger!r} does not fire"
    left = budget(model.layers, config)
    sources = {}
    for number, found in enumerate(candidates(layers, config)):
        count = min(len(found), room(layers[number], config), left)
        count -= count % 2 if config.init == "pair" else 0
        if fires[number] and count > 0:
            sources[number] = found[:count]
            left -= count
    none = (
        "no candidate, or a limit is reached: max_growth_ratio, max_growth_per_layer, or the "
        "room of reserve_events"
    )
    return sources, "" if sources else none
