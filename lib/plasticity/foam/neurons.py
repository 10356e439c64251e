"""What is remembered of each neuron of a layer: pressure, age, origin; always in float32."""

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

FIXED = -1  # the source, and the event of birth, of a neuron of the base


def bias_corrected(average: Tensor, updates: Tensor, beta: float) -> Tensor:
    """Return a running mean that started at zero, without the pull of that start.

    Parameters
    ----------
    average : Tensor
        After ``average = beta * average + (1 - beta) * value``, shape (neurons,).
    updates : Tensor
        How often, shape (neurons,); 0 gives 0.
    beta : float
        In [0, 1).

    Examples
    --------
    >>> bias_corrected(torch.tensor([0.1]), torch.tensor([1]), 0.9)
    tensor([1.])
    """
    factor = 1 - beta ** updates.to(torch.float64)
    corrected = average.double() / factor.clamp_min(torch.finfo(torch.float64).tiny)
    return torch.where(updates > 0, corrected, 0.0).float()


class KeepsTypes(nn.Module):
    """A module whose buffers keep their types when a model is cast; they still change device."""

    def _apply(self, function, recurse=True):
        kept = dict(self._buffers)
        super()._apply(function, recurse)
        for name, buffer in kept.items():
            if self._buffers[name].dtype != buffer.dtype:
                self._buffers[name] = buffer.to(self._buffers[name].device)
        return self


class Neurons(KeepsTypes):
    """The statistics of a layer's neurons, those of the base first, then in order of birth.

    Buffers, so that they are saved with the model; they stay float32 (or int64) when the model is
    cast, because a running mean in bfloat16 stands still.

    Parameters
    ----------
    width : int
        Neurons of the base; they are mature from the start.
    maturation_age : int
    pressure_window : int
        Optimizer steps whose pressure is remembered.
    device : torch.device, optional

    Attributes
    ----------
    pressure, updates : Tensor
        Running mean of the norms of gradients, not bias-corrected, and how often it was updated.
    mean_square, mean_absolute, observations : Tensor
        The same of the neuron's activation.
    age : Tensor
        Optimizer steps that the neuron has taken.
    active : Tensor
        Born and not retired.
    source, birth : Tensor
        Which neuron it was made from, in which event; -1 in the base.
    history, steps : Tensor
        The layer's pressure after each of the last optimizer steps, and how many there were.

    Examples
    --------
    >>> neurons = Neurons(4, maturation_age=500, pressure_window=10)
    >>> neurons.extend(2)
    >>> neurons.active.tolist()
    [True, True, True, True, False, False]
    """

    PER_NEURON: ClassVar[dict] = {
        "pressure": 0.0,
        "updates": 0,
        "mean_square": 0.0,
        "mean_absolute": 0.0,
        "observations": 0,
        "age": 0,
        "active": False,
        "source": FIXED,
        "birth": FIXED,
    }

    def __init__(self, width: int, maturation_age: int, pressure_window: int, device=None):
        super().__init__()
        for name, value in self.PER_NEURON.items():
            self.register_buffer(name, torch.full((width,), value, device=device))
        self.age.fill_(maturation_age)
        self.active.fill_(True)
        self.register_buffer("history", torch.zeros(pressure_window, device=device))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64, device=device))
        self.seen = torch.tensor(True)  # a finite gradient, in the last step

    def __len__(self) -> int:
        """Return the number of slots, those not yet or no longer in use included."""
        return len(self.age)

    def extend(self, count: int) -> None:
        """Add slots for neurons that are not yet born."""
        for name, value in self.PER_NEURON.items():
            old = getattr(self, name)
            setattr(self, name, torch.cat([old, old.new_full((count,), value)]))

    def shrink(self, width: int) -> None:
        """Forget all slots but the first `width`."""
        for name in self.PER_NEURON:
            setattr(self, name, getattr(self, name)[:width].clone())

    def clear(self, slots: Tensor) -> None:
        """Forget all about some slots: they are as if never born."""
        for name, value in self.PER_NEURON.items():
            getattr(self, name)[slots] = value

    def bear(self, slots: Tensor, sources: Tensor, event: int) -> None:
        """Start the lives of neurons: age 0, nothing known of them yet."""
        self.clear(slots)
        self.active[slots] = True
        self.source[slots] = sources.to(self.source)
        self.birth[slots] = event

    def mature(self, maturation_age: int) -> Tensor:
        """Return which neurons are in use and no longer young, boolean, shape (neurons,)."""
        return self.active & (self.age >= maturation_age)

    def update_pressure(self, norms: Tensor, beta: float, top: int) -> None:
        """Take the gradient norms of one optimizer step into the running mean.

        Parameters
        ----------
        norms : Tensor
            Shape (neurons,); NaN where nothing is known of a neuron, which is then left alone.
        beta : float
        top : int
            How many neurons the layer's pressure is a mean of.
        """
        norms = norms.float()
        known = torch.isfinite(norms) & self.active
        updated = torch.lerp(self.pressure, torch.where(known, norms, 0.0), 1 - beta)
        self.pressure.copy_(torch.where(known, updated, self.pressure))
        self.updates += known
        self.seen = known.any()
        estimate = torch.where(self.settled(beta), self.corrected_pressure(beta), 0.0)
        layer = torch.topk(estimate, min(top, len(estimate))).values.mean()
        self.history[self.steps % len(self.history)] = layer
        self.steps += 1

    def settled(self, beta: float) -> Tensor:
        """Return which running means do not hang on a newborn's first steps, boolean."""
        return (self.birth == FIXED) | (self.updates >= 1 / (1 - beta))

    def pressure_and_past(self) -> tuple[float, Tensor]:
        """Return the layer's pressure now, and at all steps that are remembered, in any order.

        nan and nothing before the first step.
        """
        steps, room = int(self.steps), len(self.history)
        past = self.history[: min(steps, room)]
        return float(self.history[(steps - 1) % room]) if steps else math.nan, past

    def corrected_pressure(self, beta: float) -> Tensor:
        """Return the running mean of gradient norms without the bias of its start."""
        return bias_corrected(self.pressure, self.updates, beta)

    def update_activation(self, square: Tensor, absolute: Tensor, beta: float = 0.99) -> None:
        """Take mean squares and mean absolute values of activations, shape (neurons,), in."""
        known = torch.isfinite(square) & self.active
        for name, value in (("mean_square", square), ("mean_absolute", absolute)):
            mean = getattr(self, name)
            new = torch.lerp(mean, torch.where(known, value.float(), 0.0), 1 - beta)
            mean.copy_(torch.where(known, new, mean))
        self.observations += known

    def _load_from_state_dict(self, state_dict, prefix, *arguments):
        saved = state_dict.get(f"{prefix}age")
        if saved is not None and len(saved) != len(self):
            if len(saved) < len(self):
                self.shrink(len(saved))
            else:
                self.extend(len(saved) - len(self))
        super()._load_from_state_dict(state_dict, prefix, *arguments)
