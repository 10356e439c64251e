"""Do updates follow the gradient? Each change of the state against the slope of the loss there."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plasticity.pnn.trajectories import readout_states


@dataclass(frozen=True)
class Alignment:
    """Updates of hidden tokens beside steepest descent of the loss that the head gives.

    Attributes
    ----------
    losses : ndarray of float32, shape (readouts + 1, tokens)
        Cross-entropy of the state after the embeddings (first row) and after each readout, nats.
    cosines : ndarray of float32, shape (readouts, tokens)
        Of each update with the negative gradient of the loss at the state before it; 0 where
        either has no length.
    exchanged : ndarray of float32, shape (readouts, tokens)
        The same with the update of another token, drawn at random.
    descended : ndarray of float32, shape (readouts, tokens)
        Loss after a step of the update's length down the gradient instead.
    sequences : ndarray of int64, shape (tokens,)
        Number of the sequence that each token stands in.
    """

    losses: np.ndarray
    cosines: np.ndarray
    exchanged: np.ndarray
    descended: np.ndarray
    sequences: np.ndarray


def loss_gradient(head: nn.Linear, states: Tensor, targets: Tensor) -> Tensor:
    """Return the gradient of each state's cross-entropy with respect to the state.

    Parameters
    ----------
    head : nn.Linear
        From hidden_size to vocab_size.
    states : Tensor, shape (..., tokens, hidden_size)
    targets : Tensor of int64, shape (tokens,)

    Returns
    -------
    Tensor
        Of the shape of `states`: W' (p - target).

    Examples
    --------
    >>> head, state = nn.Linear(2, 3), torch.zeros(1, 2, requires_grad=True)
    >>> F.cross_entropy(head(state), torch.tensor([1])).backward()
    >>> by_formula = loss_gradient(head, state.detach(), torch.tensor([1]))
    >>> torch.allclose(by_formula, state.grad)
    True
    """
    expected = head(states).softmax(-1) @ head.weight
    return (expected - head.weight[targets]).detach()


@torch.no_grad()
def align(
    model: nn.Module,
    masked_ids: Tensor,
    labels: Tensor,
    *,
    seed: int,
    pad_token_id: int | None = None,
    batch_size: int = 128,
) -> Alignment:
    """Compare every update of hidden tokens with the gradient of the loss at the state before.

    Parameters
    ----------
    model : PnnForMaskedLM or BertBaselineForMaskedLM
        In evaluation mode. PNN is read after each step, BERT after its readout layers.
    masked_ids, labels : Tensor of int64, shape (sequences, length)
        As `plasticity.pnn.masking.fixed_masks` gives them.
    seed : int
        Draws whose update stands in for each token's.
    pad_token_id : int, optional
        Positions with this id are hidden from attention.
    batch_size : int
        Sequences at a time; tokens are exchanged within them.

    Returns
    -------
    Alignment

    Raises
    ------
    ValueError
        If no token is hidden.
    """
    generator, parts = torch.Generator().manual_seed(seed), []
    batches = readout_states(
        model, masked_ids, labels, pad_token_id=pad_token_id, batch_size=batch_size
    )
    for states, targets, sequences in batches:
        parts.append([*_compared(model.head, states.float(), targets, generator), sequences])
    return Alignment(*(torch.cat(part, -1).cpu().numpy() for part in zip(*parts, strict=True)))


def _compared(head, states: Tensor, targets: Tensor, generator) -> tuple[Tensor, ...]:
    """Return losses, cosines, those of exchanged updates, and losses after descent."""
    before, updates = states[:-1], states[1:] - states[:-1]
    downhill = -loss_gradient(head, before, targets)
    other = updates[:, torch.randperm(len(targets), generator=generator)]
    length = updates.norm(dim=-1, keepdim=True)
    descended = before + length * F.normalize(downhill, dim=-1)
    return (
        _losses(head, states, targets),
        F.cosine_similarity(updates, downhill, dim=-1),
        F.cosine_similarity(other, downhill, dim=-1),
        _losses(head, descended, targets),
    )


def _losses(head, states: Tensor, targets: Tensor) -> Tensor:
    logits = head(states)
    every = targets.expand(logits.shape[:-1])
    return F.cross_entropy(logits.flatten(0, -2), every.flatten(), reduction="none").view_as(every)
