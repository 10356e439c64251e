"""What training shows of a block in passing: inputs, gradients of outputs, activations."""

import torch
from torch import Tensor, nn


class Recorder:
    """Watches one block during training, through hooks that do nothing unless asked.

    Everything is taken in training only, and once: evaluation, and the second forward pass of
    gradient checkpointing, leave no trace.

    Parameters
    ----------
    layer : GrowableLayer

    Attributes
    ----------
    recording : bool
        Keep inputs and output gradients of the last `growth_tokens` tokens, for initialisers.
    observing : bool
        Keep running means of activations, for dormancy.
    mask : Tensor or None
        Which tokens of the running batch are not padding, shape (batch, tokens).
    passes : list or None
        While a batch is measured: inputs and output of each forward pass.
    """

    def __init__(self, layer):
        self.layer = layer
        self.recording = False
        self.observing = layer.config.enable_replacement
        self.mask = None
        self.given: Tensor | None = None
        self.passes: list[tuple[Tensor, Tensor]] | None = None
        self.tape: list[tuple[Tensor, Tensor]] = []
        self.bounds: dict[nn.Module, Tensor] = {}

    def watch(self, block) -> list:
        """Put the hooks on a block's layers; return their handles."""
        rows = [each.register_forward_hook(self._watch_rows) for each in block.inputs]
        return [*rows, block.down.register_forward_pre_hook(self._watch_hidden)]

    def record(self, inputs: Tensor, output: Tensor) -> None:
        """Keep the inputs of a forward pass beside the gradient that its output will get."""
        if not (torch.is_grad_enabled() and output.requires_grad):
            return
        inputs = inputs.detach()
        output.register_hook(lambda gradient: self._keep(inputs, gradient.detach()))

    def note(self, inputs: Tensor, output: Tensor) -> Tensor:
        """Keep a forward pass whose gradient is asked for by `measuring.measure`."""
        if not output.requires_grad:
            output = output.detach().requires_grad_(True)
        self.passes.append((inputs, output))
        return output

    def _keep(self, inputs: Tensor, gradient: Tensor) -> None:
        self.tape.append(tuple(each.reshape(-1, each.shape[-1]) for each in (inputs, gradient)))
        limit = self.layer.config.growth_tokens
        while len(self.tape) > 1 and sum(len(x) for x, _ in self.tape[1:]) >= limit:
            del self.tape[0]

    def pairs(self) -> tuple[Tensor, Tensor] | None:
        """Return inputs and output gradients of the last tokens, (tokens, ...), float32."""
        if not self.tape:
            return None
        limit = self.layer.config.growth_tokens
        inputs, gradients = (
            torch.cat(each)[-limit:].float() for each in zip(*self.tape, strict=True)
        )
        return inputs, gradients

    def _watch_rows(self, module: nn.Module, arguments, output: Tensor) -> None:
        """Bound the gradient norms of a frozen layer's rows from its activations."""
        if torch.compiler.is_compiling() or not (torch.is_grad_enabled() and output.requires_grad):
            return
        if module.weight.requires_grad or not module.training:
            return
        lengths = arguments[0].detach().float().norm(dim=-1).reshape(1, -1)

        def bound(gradient: Tensor) -> None:
            sizes = gradient.detach().float().abs().reshape(lengths.shape[1], -1)
            before = self.bounds.get(module, 0.0)
            self.bounds[module] = before + (lengths @ sizes).squeeze(0)

        output.register_hook(bound)

    def take_bounds(self) -> Tensor | None:
        """Return the bounds since the last call, shape (neurons of the base,), and forget them."""
        bounds, self.bounds = list(self.bounds.values()), {}
        if not bounds:
            return None
        return torch.stack(bounds).square().sum(0).sqrt()

    def _watch_hidden(self, module: nn.Module, arguments) -> None:
        if not torch.compiler.is_compiling() and self.observing and module.training:
            self.observe(arguments[0].detach(), 0)

    @torch.no_grad()
    def observe(self, hidden: Tensor, start: int) -> None:
        """Take activations, shape (..., count), of the neurons from `start` on into their means."""
        if torch._C._current_graph_task_id() >= 0:  # checkpointing computes them a second time
            return
        neurons = self.layer.neurons
        means = []
        for mean in activation_means(hidden, self.mask):
            whole = mean.new_full((len(neurons),), float("nan"))
            whole[start : start + len(mean)] = mean
            means.append(whole)
        neurons.update_activation(*means)


def activation_means(hidden: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return mean squares and mean absolute values over tokens that are not padding.

    Parameters
    ----------
    hidden : Tensor
        Shape (..., neurons).
    mask : Tensor or None
        Shape of `hidden` without its last axis; anything else is left out of account.

    Examples
    --------
    >>> hidden = torch.tensor([[[1.0], [3.0], [9.0]]])
    >>> activation_means(hidden, torch.tensor([[1, 1, 0]]))
    (tensor([5.]), tensor([2.]))
    """
    flat = hidden.reshape(-1, hidden.shape[-1]).float()
    if mask is not None and mask.shape == hidden.shape[:-1]:
        flat = flat[mask.reshape(-1).to(flat.device) > 0]
    return flat.square().mean(0), flat.abs().mean(0)
