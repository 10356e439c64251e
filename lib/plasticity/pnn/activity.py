"""What goes on inside a PNN, step by step: values at its sites, their sizes, directions, spread.

Measures are taken over the last axis, the dimensions of the state, and need numpy alone.

References
----------
Choi (2025), Plastic Neural Networks, released script, experiments 1, 3, 8 and 10. Chapter:
evidence.
"""

from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor

from plasticity.pnn.interventions import Intervention, Moment, intervene
from plasticity.pnn.modeling import PnnForMaskedLM

TINY = np.finfo(np.float32).tiny


@torch.no_grad()
def record(
    model: PnnForMaskedLM,
    input_ids: Tensor,
    chosen: Tensor,
    sites: Collection[str] = (),
    *,
    pad_token_id: int | None = None,
    batch_size: int = 128,
) -> dict[str, np.ndarray]:
    """Record what sites of a model give out at chosen positions, at every step.

    Parameters
    ----------
    model : PnnForMaskedLM
        In evaluation mode.
    input_ids : Tensor of int64, shape (sequences, length)
    chosen : Tensor of bool, shape (sequences, length)
        The positions wanted.
    sites : collection of str
        Of `plasticity.pnn.interventions.SITES`.
    pad_token_id : int, optional
        Positions with this id are hidden from attention.
    batch_size : int
        Sequences at a time; changes speed and memory only.

    Returns
    -------
    dict of str to ndarray of float32
        For each site shape (steps, tokens, hidden_size); under ``state`` always the states, with
        the embeddings first, shape (steps + 1, tokens, hidden_size). Tokens in the order of the
        sequences.

    Raises
    ------
    ValueError
        If `chosen` is not of the shape of `input_ids`, or chooses nothing.

    Examples
    --------
    >>> from plasticity.pnn import PnnConfig
    >>> config = PnnConfig(
    ...     vocab_size=50, hidden_size=8, num_attention_heads=2, intermediate_size=16
    ... )
    >>> ids = torch.tensor([[5, 6, 7]])
    >>> found = record(PnnForMaskedLM(config).eval(), ids, ids > 5, ["gate"])
    >>> found["gate"].shape, found["state"].shape
    ((4, 2, 8), (5, 2, 8))
    """
    if chosen.shape != input_ids.shape or not chosen.any():
        raise ValueError(
            f"chosen must have the shape of input_ids, {tuple(input_ids.shape)}, and choose a "
            f"position or more; got the shape {tuple(chosen.shape)} with {int(chosen.sum())} chosen"
        )
    device = next(model.parameters()).device
    parts: dict[str, list] = {site: [] for site in ("state", *sites)}
    for ids, wanted in zip(input_ids.split(batch_size), chosen.split(batch_size), strict=True):
        ids, wanted = ids.to(device), wanted.to(device)
        mask = None if pad_token_id is None else (ids != pad_token_id).long()
        seen: dict[str, list] = {site: [] for site in sites}
        listeners = [Intervention(site, _listener(seen[site], wanted)) for site in sites]
        with intervene(model, *listeners):
            states = model.pnn(ids, mask, output_hidden_states=True).hidden_states
        seen["state"] = [state[wanted] for state in states]
        for site, values in seen.items():
            parts[site].append(torch.stack(values).float().cpu())
    return {site: torch.cat(values, dim=1).numpy() for site, values in parts.items()}


def _listener(seen: list, wanted: Tensor):
    """Return a change that keeps the values at some positions, and changes nothing."""

    def change(value: Tensor, moment: Moment) -> Tensor:
        seen.append(value[wanted])
        return value

    return change


@torch.no_grad()
def read_out(
    model: PnnForMaskedLM, states: np.ndarray, targets: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read states with a model's head.

    Parameters
    ----------
    model : PnnForMaskedLM
    states : ndarray of float32, shape (tokens, hidden_size)
    targets : ndarray of int64, shape (tokens,)
        The hidden tokens.

    Returns
    -------
    hits : ndarray of bool, shape (tokens,)
        Whether the most likely token is the target.
    probabilities : ndarray of float32, shape (tokens,)
        Of the target.
    confidences : ndarray of float32, shape (tokens,)
        The probability of the most likely token.
    """
    device = next(model.parameters()).device
    parts = []
    for state, target in zip(
        torch.from_numpy(states).split(4096), torch.from_numpy(targets).split(4096), strict=True
    ):
        shares = model.head(state.to(device)).float().softmax(-1).cpu()
        highest, guess = shares.max(-1)
        own = shares.gather(-1, target[:, None])[:, 0]
        parts.append(torch.stack([(guess == target).float(), own, highest]))
    hits, probabilities, confidences = torch.cat(parts, -1).numpy()
    return hits > 0, probabilities, confidences


def rms(values: np.ndarray) -> np.ndarray:
    """Return the root mean square.

    Parameters
    ----------
    values : ndarray, shape (..., dimensions)

    Returns
    -------
    ndarray, shape (...)
    """
    return np.sqrt(np.square(values).mean(-1))


def cosines(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return cosines of vectors with each other; 0 where one of them has no length.

    Parameters
    ----------
    first, second : ndarray, shape (..., dimensions)

    Returns
    -------
    ndarray, shape (...)
        In [-1, 1].

    Examples
    --------
    >>> cosines(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([[0.0, 2.0], [-3.0, 0.0]])).tolist()
    [0.0, -1.0]
    """
    lengths = np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
    return (first * second).sum(-1) / np.maximum(lengths, TINY)


def participation_ratio(values: np.ndarray) -> np.ndarray:
    """Return over how many dimensions the energy of a vector is spread, as a share of all.

    Parameters
    ----------
    values : ndarray, shape (..., dimensions)

    Returns
    -------
    ndarray, shape (...)
        Between 1 / dimensions, where one has it all, and 1, where all have the same; whatever the
        vector's length. 0 for a vector without length.

    Examples
    --------
    >>> participation_ratio(np.array([[3.0, 0, 0, 0], [1, -1, 0, 0], [2, 2, 2, 2]])).tolist()
    [0.25, 0.5, 1.0]
    """
    # Divided by the largest first: a fourth power of a small number would be nothing.
    energy = np.square(values / np.maximum(np.abs(values).max(-1, keepdims=True), TINY))
    fourth = np.square(energy).sum(-1)
    return energy.sum(-1) ** 2 / np.maximum(fourth, TINY) / values.shape[-1]


def hoyer_sparsity(values: np.ndarray) -> np.ndarray:
    """Return Hoyer's sparsity: 0 where all dimensions are as large, 1 where only one is not 0.

    Parameters
    ----------
    values : ndarray, shape (..., dimensions)
        Two dimensions or more.

    Returns
    -------
    ndarray, shape (...)
        In [0, 1], whatever the vector's length.

    References
    ----------
    Hoyer (2004), Non-negative matrix factorization with sparseness constraints, section 3.1.

    Examples
    --------
    >>> hoyer_sparsity(np.array([[0.0, 5, 0, 0], [1, 1, -1, 1]])).tolist()
    [1.0, 0.0]
    """
    root = np.sqrt(values.shape[-1])
    length = np.maximum(np.linalg.norm(values, axis=-1), TINY)
    return (root - np.abs(values).sum(-1) / length) / (root - 1)


def excess_kurtosis(values: np.ndarray) -> np.ndarray:
    """Return the excess kurtosis over dimensions: 0 for a normal distribution, more with outliers.

    Parameters
    ----------
    values : ndarray, shape (..., dimensions)

    Returns
    -------
    ndarray, shape (...)
        -2 or more; -3 where nothing varies.

    Examples
    --------
    >>> excess_kurtosis(np.array([[1.0, -1, 1, -1]])).tolist()
    [-2.0]
    """
    centred = values - values.mean(-1, keepdims=True)
    variance = np.square(centred).mean(-1)
    return (centred**4).mean(-1) / np.maximum(variance**2, TINY) - 3


def growth(states: np.ndarray) -> np.ndarray:
    """Return how long each token's state is in the end, in lengths of its embedding.

    Parameters
    ----------
    states : ndarray, shape (steps + 1, tokens, dimensions)

    Returns
    -------
    ndarray, shape (tokens,)
    """
    lengths = np.linalg.norm(states, axis=-1)
    return lengths[-1] / np.maximum(lengths[0], TINY)


def straightness(states: np.ndarray) -> np.ndarray:
    """Return how straight each token's path is: from end to end, over the sum of its steps.

    Parameters
    ----------
    states : ndarray, shape (steps + 1, tokens, dimensions)

    Returns
    -------
    ndarray, shape (tokens,)
        In [0, 1]: 1 where every step goes the same way, 0 where the path ends where it began.

    Examples
    --------
    >>> path = np.array([[[0.0, 0.0]], [[3.0, 0.0]], [[3.0, 4.0]]])
    >>> straightness(path).round(3).tolist()
    [0.714]
    """
    walked = np.linalg.norm(np.diff(states, axis=0), axis=-1).sum(0)
    return np.linalg.norm(states[-1] - states[0], axis=-1) / np.maximum(walked, TINY)


def relative_updates(states: np.ndarray) -> np.ndarray:
    """Return how far each step moves each token, in lengths of the state before.

    Parameters
    ----------
    states : ndarray, shape (steps + 1, tokens, dimensions)

    Returns
    -------
    ndarray, shape (steps, tokens)
    """
    moved = np.linalg.norm(np.diff(states, axis=0), axis=-1)
    return moved / np.maximum(np.linalg.norm(states[:-1], axis=-1), TINY)


def binary_entropy(gates: np.ndarray, epsilon: float = 1e-10) -> np.ndarray:
    """Return the mean over dimensions of the entropy of each gate, taken for a probability.

    Parameters
    ----------
    gates : ndarray, shape (..., dimensions)
        In [0, 1].
    epsilon : float
        Added inside the logarithms, as in the reference.

    Returns
    -------
    ndarray, shape (...)
        Nats; at most ln 2, which is that of gates of one half, as untrained ones have.

    Examples
    --------
    >>> binary_entropy(np.array([[0.5, 0.5], [0.1, 0.9]])).round(4).tolist()
    [0.6931, 0.3251]
    """
    gates = gates.astype(float)
    taken = gates * np.log(gates + epsilon) + (1 - gates) * np.log(1 - gates + epsilon)
    return -taken.mean(-1)
