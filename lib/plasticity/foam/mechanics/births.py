"""How newborns start, compared: their gradient at birth, and how fast they then learn."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from plasticity.foam.configuration import GrowthConfig
from plasticity.foam.mechanics.reading import mean_loss, train
from plasticity.foam.model import GrowableModel, get_growable_model

INITS = {"gradmax": "gradmax", "copy_and_noise": "copy_noise", "random": "random"}
CONTRASTIVE = ("copy_and_noise",)  # made orthogonal to each other, as the README has it


def grown(base: nn.Module, start: str, batch: dict[str, Tensor], count: int) -> GrowableModel:
    """Freeze a copy of a model and let newborns be born in all its layers.

    Rows have the mean norm of the rows that exist, whatever the start, and sources are the neurons
    whose gradients are largest on the batch: the starts differ in direction alone.

    Parameters
    ----------
    base : causal language model
    start : {"gradmax", "copy_and_noise", "random"}
    batch : dict
        The data that they are born for.
    count : int
        Newborns in each layer.
    """
    config = GrowthConfig(
        init=INITS[start],
        init_scale=1.0,
        orthogonalize="newborns" if start in CONTRASTIVE else "none",
        train_base="none",
        young_lr_multiplier=1.0,
        max_growth_ratio=None,
    )
    model = get_growable_model(copy.deepcopy(base), config)
    model.train()
    model(**batch).loss.backward()
    sources = {
        number: layer.gradient_norms().topk(count).indices
        for number, layer in enumerate(model.layers)
    }
    model.grow(sources, growth_batch=batch)
    return model


def gradient_at_birth(model: GrowableModel, batch: dict[str, Tensor]) -> float:
    """Return the mean norm of the gradient of newborns' columns on a batch; they are zero still."""
    model.zero_grad()
    model.train()
    model(**batch).loss.backward()
    norms = [layer.cohorts[-1].down.grad.norm(dim=0) for layer in model.layers]
    model.zero_grad()
    return float(torch.cat(norms).mean())


def learn(
    model: GrowableModel, source: Iterator[dict], learning_rate: float, points: list[int]
) -> list[dict[str, Tensor]]:
    """Train newborns alone, and keep them as they are at some steps.

    Parameters
    ----------
    model : GrowableModel
    source : iterator of dict
    learning_rate : float
        Of AdamW.
    points : list of int
        Steps, rising.

    Returns
    -------
    list of dict
        Weights of the newborns, for `loss_with`.
    """
    optimizer = torch.optim.AdamW(model.param_groups(learning_rate))
    kept, done = [], 0
    for point in points:
        train(model, optimizer, source, point - done)
        done = point
        kept.append({name: p.detach().clone() for name, p in model.layers.named_parameters()})
    return kept


def loss_with(model: GrowableModel, newborns: dict[str, Tensor], some: list[dict]) -> float:
    """Return the loss on batches with newborns as they were at some step, in nats a byte."""
    model.layers.load_state_dict(newborns, strict=False)
    return mean_loss(model, some)
