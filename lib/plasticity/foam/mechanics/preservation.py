"""What an event changes of the function: nothing beside the layer, something inside a wider one."""

import copy

import torch
from torch import Tensor, nn

from plasticity.foam.configuration import GrowthConfig
from plasticity.foam.model import get_growable_model

STORAGES = ("cohort", "concat")


@torch.no_grad()
def change_by_growth(
    base: nn.Module, storage: str, batch: dict[str, Tensor], count: int
) -> tuple[float, float]:
    """Grow a copy of a model in every layer; return how far a logit, and the loss, change.

    Parameters
    ----------
    base : causal language model
        In any type; the copy has the same.
    storage : {"cohort", "concat"}
        Newborns beside the layers, or inside wider ones that take their place.
    batch : dict
    count : int
        Newborns in each layer; their columns are zero.

    Returns
    -------
    logit_change, loss_change : float
        The largest change of a logit, and the absolute change of the loss.
    """
    model = get_growable_model(copy.deepcopy(base), GrowthConfig(init="random"))
    before = model(**batch)
    model.grow({number: torch.arange(count) for number in range(len(model.layers))})
    after = (model if storage == "cohort" else model.merge_and_unload())(**batch)
    logits = (after.logits.double() - before.logits.double()).abs().max()
    return float(logits), abs(float(after.loss.double() - before.loss.double()))
