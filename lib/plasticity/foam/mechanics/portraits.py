"""Looking at a grown model: where pressure is high, what excites a newborn, what it writes."""

import pandas as pd
import torch
from torch import Tensor

from plasticity.foam.directions import unit_rows
from plasticity.foam.measuring import measure
from plasticity.foam.model import GrowableModel
from plasticity.foam.triggers import relative_pressure


def pressures(model: GrowableModel) -> pd.DataFrame:
    """Return the pressure of every neuron of the base, relative to its weights.

    Returns
    -------
    DataFrame
        Columns layer, neuron, pressure.
    """
    parts = []
    for number, layer in enumerate(model.layers):
        found = relative_pressure(layer)[: layer.block.width]
        parts.append(pd.DataFrame({"layer": number, "pressure": found.cpu().numpy()}))
    return pd.concat(parts).rename_axis("neuron").reset_index()[["layer", "neuron", "pressure"]]


def newborns(model: GrowableModel) -> pd.DataFrame:
    """Return who was born: columns layer, slot (of its cohorts), source and event."""
    lines = []
    for number, layer in enumerate(model.layers):
        width, neurons = layer.block.width, layer.neurons
        for slot in range(len(neurons) - width):
            if bool(neurons.active[width + slot]):
                source, event = neurons.source[width + slot], neurons.birth[width + slot]
                lines.append((number, slot, int(source), int(event)))
    return pd.DataFrame(lines, columns=["layer", "slot", "source", "event"])


def excites(model: GrowableModel, layer: int, slot: int, batch: dict[str, Tensor]) -> Tensor:
    """Return the activation of a newborn at every token of a batch, shape (batch, tokens)."""
    _, pairs = measure(model, batch)
    inputs = pairs[layer][0]
    with torch.no_grad():
        hidden = model.layers[layer].hidden(inputs.to(model.layers[layer].block.dtype))
    return hidden[:, slot].reshape(batch["input_ids"].shape)


@torch.no_grad()
def writes(model: GrowableModel, layer: int, slot: int) -> Tensor:
    """Return what a newborn's column adds to the logits, by token, shape (vocabulary,).

    The column alone, of length 1, through the final norm's weights and the output embeddings: later
    layers are left out, so it is what the newborn says, not all that follows from it.
    """
    column = model.layers[layer].joined("down")[:, slot]
    column = unit_rows(column[None])[0]
    return model.base_model.lm_head(model.base_model.model.norm.weight * column)
