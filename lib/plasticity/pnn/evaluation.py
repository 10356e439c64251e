"""Scoring: masked-token accuracy and loss of every readout, and the constant guess."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plasticity.pnn.masking import IGNORED_LABEL, MaskingRule


@dataclass(frozen=True)
class Evaluation:
    """Scores over a masked set.

    Attributes
    ----------
    accuracy : float
        Percent of hidden tokens that the final readout gets right, micro-averaged.
    loss : float
        Cross-entropy of the final readout, nats per hidden token.
    readout_accuracy : list of float
        Percent, for the embeddings and each step or layer after them.
    tokens : int
        Number of hidden tokens scored.
    """

    accuracy: float
    loss: float
    readout_accuracy: list[float]
    tokens: int


@torch.no_grad()
def evaluate(
    model: nn.Module,
    masked_ids: Tensor,
    labels: Tensor,
    *,
    pad_token_id: int | None = None,
    batch_size: int = 256,
    num_steps: int | None = None,
) -> Evaluation:
    """Score a masked language model on fixed masks.

    Parameters
    ----------
    model : PnnForMaskedLM or BertBaselineForMaskedLM
    masked_ids, labels : Tensor of int64, shape (sequences, length)
        As `plasticity.pnn.masking.fixed_masks` gives them.
    pad_token_id : int, optional
        Positions with this id are hidden from attention; None when there is no padding.
    batch_size : int
        Sequences at a time; changes speed and memory only.
    num_steps : int, optional
        Refinement steps of a PNN; its own number when None.

    Returns
    -------
    Evaluation

    Raises
    ------
    ValueError
        If no token is hidden.
    """
    scored_tokens = int((labels != IGNORED_LABEL).sum())
    if scored_tokens == 0:
        raise ValueError("nothing to score: labels hides no token; draw the masks again")
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    asked = {"output_hidden_states": True}
    if num_steps is not None:  # BERT has no such argument
        asked["num_steps"] = num_steps
    loss, correct = 0.0, None
    for ids, targets in zip(masked_ids.split(batch_size), labels.split(batch_size), strict=True):
        ids, targets = ids.to(device), targets.to(device)
        mask = None if pad_token_id is None else (ids != pad_token_id).long()
        states = model(ids, mask, labels=targets, **asked).hidden_states
        scored = targets != IGNORED_LABEL
        answers = targets[scored]
        logits = [model.head(state[scored]) for state in states]
        loss += F.cross_entropy(logits[-1].float(), answers, reduction="sum").item()
        hits = torch.stack([(read.argmax(-1) == answers).sum() for read in logits])
        correct = hits if correct is None else correct + hits
    model.train(was_training)
    readouts = [100 * hits / scored_tokens for hits in correct.tolist()]
    return Evaluation(readouts[-1], loss / scored_tokens, readouts, scored_tokens)


@torch.no_grad()
def token_scores(
    model: nn.Module,
    masked_ids: Tensor,
    labels: Tensor,
    *,
    pad_token_id: int | None = None,
    batch_size: int = 256,
) -> tuple[Tensor, Tensor]:
    """Score every hidden token by itself, for comparisons paired by token.

    Parameters
    ----------
    model, masked_ids, labels, pad_token_id, batch_size
        As for `evaluate`; the model in evaluation mode.

    Returns
    -------
    hits : Tensor of bool, shape (hidden tokens,)
        Whether the final readout gets each right, in the order of the sequences.
    losses : Tensor of float32, shape (hidden tokens,)
        Cross-entropy, nats.
    """
    device = next(model.parameters()).device
    hits, losses = [], []
    for ids, targets in zip(masked_ids.split(batch_size), labels.split(batch_size), strict=True):
        ids, targets = ids.to(device), targets.to(device)
        mask = None if pad_token_id is None else (ids != pad_token_id).long()
        logits = model(ids, mask, labels=targets).logits.float()
        answers = targets[targets != IGNORED_LABEL]
        hits.append((logits.argmax(-1) == answers).cpu())
        losses.append(F.cross_entropy(logits, answers, reduction="none").cpu())
    return torch.cat(hits), torch.cat(losses)


def constant_guess(train_sequences: Tensor, labels: Tensor, rule: MaskingRule) -> float:
    """Score the guess that every hidden token is the training set's most frequent token.

    Parameters
    ----------
    train_sequences : Tensor of int64, shape (sequences, length)
    labels : Tensor of int64, shape (sequences, length)
        The labels that the models are scored on.
    rule : MaskingRule
        Its special tokens are never hidden, so never guessed.

    Returns
    -------
    float
        Percent of hidden tokens guessed right.
    """
    special = list(rule.special_token_ids)
    counts = torch.bincount(train_sequences.flatten(), minlength=max(special) + 1)
    counts[special] = 0
    targets = labels[labels != IGNORED_LABEL]
    return 100 * int((targets == counts.argmax()).sum()) / max(len(targets), 1)
