"""Weights that bitsandbytes keeps in 4 or 8 bits, read as floats; needed only where it is used."""

import torch
from torch import Tensor, nn


def dequantise(layer: nn.Module) -> Tensor:
    """Return the weight that a quantised layer computes with, shape (outputs, inputs).

    Parameters
    ----------
    layer : nn.Module
        A `bitsandbytes.nn.Linear4bit` or `Linear8bitLt` whose weight is quantised already.

    Returns
    -------
    Tensor
        In the type that the layer computes in (8 bits: float32).

    Raises
    ------
    TypeError
        If it is another kind of quantised layer.
    """
    from bitsandbytes import functional
    from bitsandbytes.nn import Linear4bit, Linear8bitLt

    weight = layer.weight
    if isinstance(layer, Linear4bit):
        if getattr(weight.quant_state, "packing_format_for_cpu", False):
            return _through_identity(layer)
        whole = functional.dequantize_4bit(weight.data, weight.quant_state)
        return whole if layer.compute_dtype is None else whole.to(layer.compute_dtype)
    if isinstance(layer, Linear8bitLt):
        scales = weight.SCB if layer.state.SCB is None else layer.state.SCB
        return weight.data.float() * (scales.float() / 127).unsqueeze(1)
    raise TypeError(
        f"a quantised layer must be Linear4bit or Linear8bitLt of bitsandbytes, got "
        f"{type(layer).__name__}; load the base in bfloat16 or float32"
    )


def _through_identity(layer: nn.Module) -> Tensor:
    """Read the weight of a layer that evaluation has packed for the CPU: run it on unit vectors."""
    kind = {"dtype": layer.compute_dtype or torch.float32, "device": layer.weight.device}
    unit = torch.eye(layer.in_features, **kind)
    with torch.no_grad():
        bias = 0 if layer.bias is None else layer.bias
        return (layer(unit) - bias).T
