"""Does a hidden neighbour do harm? One token predicted with a neighbour there, hidden, or away.

References
----------
Choi (2025), Plastic Neural Networks, released script, experiment 9. Chapter: evidence.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from plasticity.pnn.masking import IGNORED_LABEL
from plasticity.pnn.modeling import PnnForMaskedLM

EASY, HARD = 0, 2
CONDITIONS = ("shown", "easy hidden", "hard hidden", "easy away", "hard away")


@dataclass(frozen=True)
class Centres:
    """Tokens with an easy neighbour on one side and a hard one on the other, one a sequence.

    Attributes
    ----------
    sequences, positions, easy, hard : ndarray of int64, shape (centres,)
        Where each stands, and where its neighbours do.
    """

    sequences: np.ndarray
    positions: np.ndarray
    easy: np.ndarray
    hard: np.ndarray


def choose_centres(kinds: np.ndarray, rng: np.random.Generator) -> Centres:
    """Choose a centre in every sequence that has one.

    Parameters
    ----------
    kinds : ndarray of int, shape (sequences, length)
        Index into `plasticity.pnn.difficulty.CLASSES`; negative where a token is special.
    rng : numpy.random.Generator

    Returns
    -------
    Centres

    Examples
    --------
    >>> found = choose_centres(np.array([[0, 1, 2, -1], [0, 1, 0, 1]]), np.random.default_rng(0))
    >>> found.sequences, found.positions, found.easy, found.hard
    (array([0]), array([1]), array([0]), array([2]))
    """
    left, right = kinds[:, :-2], kinds[:, 2:]
    apart = ((left == EASY) & (right == HARD)) | ((left == HARD) & (right == EASY))
    fits = apart & (kinds[:, 1:-1] >= 0)
    sequences = np.flatnonzero(fits.any(1))
    chance = rng.random(fits.shape) * fits
    positions = chance[sequences].argmax(1) + 1
    before, after = positions - 1, positions + 1
    easy_first = kinds[sequences, before] == EASY
    return Centres(
        sequences,
        positions,
        easy=np.where(easy_first, before, after),
        hard=np.where(easy_first, after, before),
    )


@torch.no_grad()
def losses(
    model: PnnForMaskedLM,
    input_ids: Tensor,
    centres: Centres,
    mask_token_id: int,
    *,
    pad_token_id: int | None = None,
    batch_size: int = 256,
) -> dict[str, np.ndarray]:
    """Score every centre with all else shown, and with a neighbour hidden or out of attention.

    Parameters
    ----------
    model : PnnForMaskedLM
        In evaluation mode.
    input_ids : Tensor of int64, shape (sequences, length)
        Nothing hidden.
    centres : Centres
    mask_token_id : int
    pad_token_id : int, optional
        Positions with this id are hidden from attention.
    batch_size : int
        Sequences at a time; changes speed and memory only.

    Returns
    -------
    dict of str to ndarray of float32, shape (centres,)
        Cross-entropy of the centre, nats, under each of `CONDITIONS`. A neighbour that is away is
        neither told nor attended to: it gives as little as a hidden one, but cannot interfere.
    """
    rows = np.arange(len(centres.sequences))
    shown = input_ids[centres.sequences].clone()
    labels = torch.full_like(shown, IGNORED_LABEL)
    labels[rows, centres.positions] = shown[rows, centres.positions]
    shown[rows, centres.positions] = mask_token_id
    attended = torch.ones_like(shown)
    if pad_token_id is not None:
        attended = (shown != pad_token_id).long()
    found = {}
    for condition in CONDITIONS:
        ids, attention = shown.clone(), attended.clone()
        if condition != "shown":
            name, what = condition.split()
            neighbour = getattr(centres, name)
            ids[rows, neighbour] = mask_token_id
            if what == "away":
                attention[rows, neighbour] = 0
        found[condition] = _losses(model, ids, attention, labels, batch_size)
    return found


def _losses(model, ids: Tensor, attention: Tensor, labels: Tensor, batch_size: int) -> np.ndarray:
    device, parts = next(model.parameters()).device, []
    for batch in zip(*(part.split(batch_size) for part in (ids, attention, labels)), strict=True):
        own_ids, own_attention, own_labels = (part.to(device) for part in batch)
        logits = model(own_ids, own_attention, labels=own_labels).logits.float()
        targets = own_labels[own_labels != IGNORED_LABEL]
        parts.append(F.cross_entropy(logits, targets, reduction="none").cpu())
    return torch.cat(parts).numpy()
