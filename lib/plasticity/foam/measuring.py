"""One pass over a batch, to see where a model would like to change; nothing is trained by it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from plasticity.foam.feed_forward import is_quantised
from plasticity.foam.recording import activation_means


def loss_of(model: nn.Module, batch) -> Tensor:
    """Return the mean loss of a model on a batch.

    Parameters
    ----------
    model : nn.Module
    batch : Mapping, list of Mapping, or callable
        Keyword arguments of the model, labels included; several such batches; or a function from
        the model to its loss.

    Raises
    ------
    ValueError
        If there is no batch, or the model returns no loss.
    """
    if callable(batch):
        return batch(model)
    if not isinstance(batch, Mapping):
        if not len(batch):
            raise ValueError("batch is empty; allowed: a batch, or a list of one batch or more")
        return torch.stack([loss_of(model, each) for each in batch]).mean()
    loss = getattr(model(**batch), "loss", None)
    if loss is None:
        raise ValueError(
            f"the model returned no loss for a batch of {sorted(batch)}; put labels into it, or "
            "give a function from the model to its loss"
        )
    return loss


@contextmanager
def at_rest(model: nn.Module) -> Iterator[None]:
    """Evaluate without dropout and without torch.compile, then put every module's mode back."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    for module, mode in modes:  # bitsandbytes packs 4-bit layers anew when they are evaluated
        if isinstance(getattr(module, "weight", None), Tensor) and is_quantised(module):
            module.training = mode
    try:
        with torch.compiler.set_stance("force_eager"):
            yield
    finally:
        for module, mode in modes:
            module.training = mode


@torch.no_grad()
def evaluate(model, batch) -> float:
    """Return a growable model's loss on a batch, without gradients."""
    with at_rest(model):
        return float(loss_of(model.base_model, batch))


def measure(model, batch) -> tuple[float, list[tuple[Tensor, Tensor]]]:
    """Return the loss, and for each layer the inputs and output gradients of the batch's tokens.

    Works for a model without any trainable parameter, and leaves `.grad` of all as it is.

    Parameters
    ----------
    model : GrowableModel
    batch : as in `loss_of`

    Returns
    -------
    float
    list of (Tensor, Tensor)
        Shapes (tokens, inputs) and (tokens, outputs), float32.
    """
    recorders = [layer.recorder for layer in model.layers]
    try:
        for recorder in recorders:
            recorder.passes = []
        with at_rest(model), torch.enable_grad():
            loss = loss_of(model.base_model, batch)
            passes = [each for recorder in recorders for each in recorder.passes]
            gradients = iter(torch.autograd.grad(loss, [output for _, output in passes]))
        found = []
        for recorder in recorders:
            block = recorder.layer.block
            given = [each.detach().reshape(-1, block.size) for each, _ in recorder.passes]
            deltas = [next(gradients).reshape(-1, block.outputs) for _ in recorder.passes]
            found.append((torch.cat(given).float(), torch.cat(deltas).float()))
    finally:
        for recorder in recorders:
            recorder.passes = None
    return float(loss.detach()), found


@torch.no_grad()
def activations(model, batch) -> list[tuple[Tensor, Tensor]]:
    """Return for each layer the mean square and mean absolute activation of all its neurons."""
    found: list[list[Tensor]] = [[] for _ in model.layers]
    handles = [
        layer.block.down.register_forward_pre_hook(_keeper(layer, kept))
        for layer, kept in zip(model.layers, found, strict=True)
    ]
    inputs = [
        layer.block.module.register_forward_pre_hook(_input_keeper(layer), with_kwargs=True)
        for layer in model.layers
    ]
    try:
        with at_rest(model):
            loss_of(model.base_model, batch)
    finally:
        for handle in (*handles, *inputs):
            handle.remove()
    means = []
    for kept in found:
        squares, absolutes = zip(*kept, strict=True)
        means.append((torch.stack(squares).mean(0), torch.stack(absolutes).mean(0)))
    return means


def _input_keeper(layer) -> Callable:
    def keep(module, arguments, keywords):
        layer.recorder.given = arguments[0] if arguments else next(iter(keywords.values()))

    return keep


def _keeper(layer, kept: list) -> Callable:
    def keep(module, arguments):
        hidden = arguments[0]
        if len(layer.cohorts):
            grown = layer.hidden(layer.recorder.given.to(layer.block.dtype))
            hidden = torch.cat([hidden, grown.to(hidden.dtype)], dim=-1)
        kept.append(activation_means(hidden, layer.recorder.mask))

    return keep
