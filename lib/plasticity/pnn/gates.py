"""Gate values, what they vary with, and how many humps a distribution has."""

import itertools
import math

import numpy as np
import torch
from scipy import ndimage, signal
from torch import Tensor

from plasticity.pnn.modeling import PnnForMaskedLM

AXES = ("step", "dimension", "token")
BINS_A_WIDTH = 10  # how finely a distribution is counted before it is smoothed


@torch.no_grad()
def gate_values(
    model: PnnForMaskedLM,
    input_ids: Tensor,
    chosen: Tensor,
    *,
    pad_token_id: int | None = None,
    batch_size: int = 128,
) -> np.ndarray:
    """Return the gates of chosen positions at every step.

    Parameters
    ----------
    model : PnnForMaskedLM
        In evaluation mode.
    input_ids : Tensor of int64, shape (sequences, length)
    chosen : Tensor of bool, shape (sequences, length)
        The positions wanted. Padding is among them only if it is chosen.
    pad_token_id : int, optional
        Positions with this id are hidden from attention; they are refined like all others.
    batch_size : int
        Sequences at a time; changes speed and memory only.

    Returns
    -------
    ndarray of float32, shape (steps, dimensions, tokens)
        Gates in (0, 1); tokens in the order of the sequences.

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
    >>> ids = torch.tensor([[5, 6, 7, 0]])
    >>> gate_values(PnnForMaskedLM(config).eval(), ids, ids != 0, pad_token_id=0).shape
    (4, 8, 3)
    """
    if chosen.shape != input_ids.shape:
        raise ValueError(
            f"chosen must have the shape of input_ids, {tuple(input_ids.shape)}, "
            f"got {tuple(chosen.shape)}"
        )
    if not chosen.any():
        raise ValueError("nothing to look at: chosen is False at every position")
    device = next(model.parameters()).device
    parts = []
    for ids, wanted in zip(input_ids.split(batch_size), chosen.split(batch_size), strict=True):
        ids, wanted = ids.to(device), wanted.to(device)
        mask = None if pad_token_id is None else (ids != pad_token_id).long()
        gates = model.pnn(ids, mask, output_gates=True).gates
        parts.append(torch.stack([gate[wanted].T for gate in gates]).float().cpu())
    return torch.cat(parts, dim=-1).numpy()


def variance_shares(gates: np.ndarray) -> dict[str, float]:
    """Split the variance of gates exactly into what step, dimension and token explain.

    This is the analysis of variance of a balanced design with three factors and one value in each
    cell: main effects, their pairwise interactions, and what is left.

    Parameters
    ----------
    gates : ndarray, shape (steps, dimensions, tokens)

    Returns
    -------
    dict of str to float
        Percent of the variance, 100 in all, under ``step``, ``dimension``, ``token``,
        ``step_dimension``, ``step_token``, ``dimension_token`` and ``rest``.

    Raises
    ------
    ValueError
        If `gates` has other than three axes, or does not vary.

    Examples
    --------
    >>> profile = np.array([0.2, 0.8])  # two dimensions, alike for every step and token
    >>> shares = variance_shares(np.broadcast_to(profile[:, None], (4, 2, 5)))
    >>> round(shares["dimension"], 6), round(shares["rest"], 6)
    (100.0, 0.0)
    """
    if np.ndim(gates) != len(AXES):
        raise ValueError(f"gates must have the axes {AXES}, got the shape {np.shape(gates)}")
    if np.ptp(gates) == 0:
        raise ValueError(f"gates must vary, got {np.ravel(gates)[0]:g} everywhere")
    rest = np.array(gates, dtype=float)
    rest -= rest.mean()
    total, shares = np.square(rest).sum(), {}
    # In a balanced design the effects are orthogonal: each is a mean of what the others leave.
    for order in (1, 2):
        for kept in itertools.combinations(range(len(AXES)), order):
            others = tuple(axis for axis in range(len(AXES)) if axis not in kept)
            effect = rest.mean(axis=others, keepdims=True)
            repeated = math.prod(rest.shape[axis] for axis in others)
            name = "_".join(AXES[axis] for axis in kept)
            shares[name] = float(100 * repeated * np.square(effect).sum() / total)
            rest -= effect
    return {**shares, "rest": float(100 * np.square(rest).sum() / total)}


def modes(values: np.ndarray, width: float, prominence: float = 0.05) -> np.ndarray:
    """Find the humps of a distribution: the peaks of its Gaussian kernel density.

    Parameters
    ----------
    values : ndarray, shape (count,)
        The sample.
    width : float
        Standard deviation of the kernel, in the unit of `values`, above 0. Humps closer than about
        two widths are one, so the same width makes populations comparable whatever their size.
    prominence : float
        How far the density must fall on either side of a peak before it rises to a higher one, as
        a share of the highest peak, in (0, 1). Smaller ripples are taken for noise.

    Returns
    -------
    ndarray, shape (modes,)
        Where the peaks are, to a tenth of the width, in ascending order; one or more.

    Raises
    ------
    ValueError
        If `width` or `prominence` is out of its range, or there is no value.

    Examples
    --------
    >>> generator = np.random.default_rng(0)
    >>> humps = [generator.normal(centre, 0.05, 500) for centre in (0.3, 0.7)]
    >>> modes(np.concatenate(humps), width=0.02).round(1).tolist()
    [0.3, 0.7]
    """
    if not width > 0:
        raise ValueError(f"width must be above 0, got {width}")
    if not 0 < prominence < 1:
        raise ValueError(f"prominence must be in (0, 1), got {prominence}")
    if np.size(values) == 0:
        raise ValueError("values must hold one number or more, got none")
    # Counted in fine bins first, which is much faster than a kernel for each value. The margin lets
    # the density fall to nothing at both ends, so that a peak at an edge is a peak.
    edges = np.arange(np.min(values) - 5 * width, np.max(values) + 5 * width, width / BINS_A_WIDTH)
    counts, _ = np.histogram(values, edges)
    density = ndimage.gaussian_filter1d(counts.astype(float), BINS_A_WIDTH)
    peaks, _ = signal.find_peaks(density, prominence=prominence * density.max())
    return (edges[peaks] + edges[peaks + 1]) / 2
