"""The path of each hidden token: what is predicted, and how the state moves, from step to step."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plasticity.pnn.masking import IGNORED_LABEL


@dataclass(frozen=True)
class Trajectories:
    """Paths of hidden tokens through the readouts of a model.

    Attributes
    ----------
    predictions : ndarray of int64, shape (readouts + 1, tokens)
        Most likely token after the embeddings (first row) and after each readout.
    targets : ndarray of int64, shape (tokens,)
        The hidden tokens.
    sequences : ndarray of int64, shape (tokens,)
        Number of the sequence that each stands in.
    divergence : ndarray of float32, shape (readouts, tokens)
        Kullback-Leibler divergence of each readout's distribution from the one before, nats.
    change : ndarray of float32, shape (readouts, tokens)
        Length of each change of the state, relative to the state before.
    """

    predictions: np.ndarray
    targets: np.ndarray
    sequences: np.ndarray
    divergence: np.ndarray
    change: np.ndarray


@torch.no_grad()
def readout_states(
    model: nn.Module,
    masked_ids: Tensor,
    labels: Tensor,
    *,
    pad_token_id: int | None,
    batch_size: int,
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield, batch by batch, the states of hidden tokens that a model's loss reads.

    Parameters
    ----------
    model, masked_ids, labels, pad_token_id, batch_size
        As for `follow`.

    Yields
    ------
    states : Tensor, shape (readouts + 1, tokens, hidden_size)
        After the embeddings first.
    targets : Tensor of int64, shape (tokens,)
    sequences : Tensor of int64, shape (tokens,)
        Number of the sequence that each token stands in.

    Raises
    ------
    ValueError
        If no token is hidden.
    """
    if not (labels != IGNORED_LABEL).any():
        raise ValueError("nothing to follow: labels hides no token; draw the masks again")
    device = next(model.parameters()).device
    readouts = [0, *model.config.readout_layers]
    first = 0
    for ids, targets in zip(masked_ids.split(batch_size), labels.split(batch_size), strict=True):
        ids, targets = ids.to(device), targets.to(device)
        mask = None if pad_token_id is None else (ids != pad_token_id).long()
        states = model(ids, mask, labels=targets, output_hidden_states=True).hidden_states
        scored = targets != IGNORED_LABEL
        state = torch.stack([states[number][scored] for number in readouts])
        yield state, targets[scored], scored.nonzero()[:, 0] + first
        first += len(ids)


@torch.no_grad()
def follow(
    model: nn.Module,
    masked_ids: Tensor,
    labels: Tensor,
    *,
    pad_token_id: int | None = None,
    batch_size: int = 128,
) -> Trajectories:
    """Follow every hidden token through the readouts that enter a model's loss.

    Parameters
    ----------
    model : PnnForMaskedLM or BertBaselineForMaskedLM
        In evaluation mode. PNN is read after each step, BERT after its readout layers.
    masked_ids, labels : Tensor of int64, shape (sequences, length)
        As `plasticity.pnn.masking.fixed_masks` gives them.
    pad_token_id : int, optional
        Positions with this id are hidden from attention.
    batch_size : int
        Sequences at a time; changes speed and memory only.

    Returns
    -------
    Trajectories

    Raises
    ------
    ValueError
        If no token is hidden.
    """
    parts = []
    batches = readout_states(
        model, masked_ids, labels, pad_token_id=pad_token_id, batch_size=batch_size
    )
    for state, targets, sequences in batches:
        log_p = F.log_softmax(model.head(state).float(), dim=-1)  # (readouts + 1, scored, vocab)
        moved = (state[1:] - state[:-1]).norm(dim=-1) / state[:-1].norm(dim=-1)
        divergence = (log_p[1:].exp() * (log_p[1:] - log_p[:-1])).sum(-1)
        parts.append([log_p.argmax(-1), targets, sequences, divergence, moved])
    joined = (torch.cat(part, dim=-1).cpu().numpy() for part in zip(*parts, strict=True))
    return Trajectories(*joined)
