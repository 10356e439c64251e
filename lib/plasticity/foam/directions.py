"""Directions in which a newborn's gradient is largest: the linear algebra of GradMax.

For tokens n with inputs x_n, gradients delta_n of the block's output and weights s_n (what the
gate lets through), the matrix B = sum_n s_n delta_n x_n^T is the gradient of a missing linear map
from inputs to outputs. Its singular vectors are found by power iteration on the tokens themselves,
so that B, outputs x inputs for every newborn, is never formed.

References
----------
Evci et al. (2022), GradMax, ICLR, section 3, of which this is the form for gated blocks.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

ITERATIONS = 30
TOLERANCE = 1e-5


def unchanged(tensor: Tensor) -> Tensor:
    """Return what is given: the sum over processes where there is one process."""
    return tensor


@dataclass
class Directions:
    """Singular triples, one for each newborn.

    Attributes
    ----------
    right, left : Tensor
        Unit rows in input and output space, shapes (k, inputs) and (k, outputs).
    sigma : Tensor
        ``norm(B @ right)``, shape (k,).
    """

    right: Tensor
    left: Tensor
    sigma: Tensor


def unit_rows(rows: Tensor) -> Tensor:
    """Scale rows to norm 1; a row of zeros stays zero.

    Examples
    --------
    >>> unit_rows(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]])
    """
    return torch.nan_to_num(rows / rows.norm(dim=-1, keepdim=True))


def row_space(rows: Tensor) -> Tensor:
    """Return an orthonormal basis, shape (rank, d), of what rows span, in float64."""
    _, values, basis = torch.linalg.svd(rows.double(), full_matrices=False)
    return basis[values > values.max().clamp_min(1e-300) * max(rows.shape) * 1e-12]


def orthogonalize(candidates: Tensor, rows: Tensor) -> Tensor:
    """Return candidates without their part in the span of rows, each with its norm kept.

    Parameters
    ----------
    candidates : Tensor
        Shape (k, d).
    rows : Tensor
        Shape (m, d).

    Raises
    ------
    ValueError
        If nothing is left of a candidate: where rows span the whole space, what remains of it is
        rounding noise, and scaling that up would make a random direction.

    Examples
    --------
    >>> orthogonalize(torch.tensor([[1.0, 1.0]]), torch.tensor([[0.0, 5.0]])).tolist()
    [[1.4142135381698608, 0.0]]
    """
    basis = row_space(rows)
    exact = candidates.double()
    rest = exact - exact @ basis.T @ basis
    share = rest.norm(dim=1) / exact.norm(dim=1).clamp_min(1e-300)
    if bool((share < 1e-5).any()):
        raise ValueError(
            f"the rows to be orthogonal to (rank {len(basis)} of {rows.shape[1]}) leave nothing of "
            f"a candidate (share {float(share.min()):.1e} of its norm, at least 1e-5 needed); use "
            "orthogonalize='none', more noise, other sources, or fewer nearest_rows"
        )
    return (unit_rows(rest) * exact.norm(dim=1, keepdim=True)).to(candidates.dtype)


def apart(rows: Tensor) -> Tensor:
    """Return rows, each orthogonal to those before it as far as there is room, norms kept.

    Raises
    ------
    ValueError
        If one of them lies in the span of those before it.

    Examples
    --------
    >>> apart(torch.tensor([[2.0, 0.0], [3.0, 4.0]])).tolist()
    [[2.0, 0.0], [0.0, 5.0]]
    """
    rows = rows.clone()
    for number in range(1, min(rows.shape)):
        rows[number] = orthogonalize(rows[number : number + 1], rows[:number])[0]
    return rows


def in_order(rows: Tensor) -> Tensor:
    """Make rows orthonormal, each against those before it; needs no more rows than columns."""
    basis, triangle = torch.linalg.qr(rows.T)
    signs = torch.where(triangle.diagonal() < 0, -1.0, 1.0)
    return (basis * signs).T


def singular_directions(
    inputs: Tensor,
    gradients: Tensor,
    weights: Tensor,
    start: Tensor,
    *,
    distinct: bool = True,
    avoid: Tensor | None = None,
    reduce: Callable[[Tensor], Tensor] = unchanged,
) -> Directions:
    """Return the top singular vectors of B_j = sum_n weights[n, j] gradients[n] inputs[n]^T.

    Parameters
    ----------
    inputs, gradients : Tensor
        Shapes (tokens, inputs) and (tokens, outputs), float32.
    weights : Tensor
        Shape (tokens, k), or (tokens, 1) where all k share one matrix.
    start : Tensor
        Rows to start from, shape (k, inputs); none zero.
    distinct : bool
        Keep the right vectors orthogonal, each to those before it. The first is the top singular
        vector in any case; for one shared matrix they are the first k.
    avoid : Tensor, optional
        Orthonormal rows that the right vectors stay orthogonal to, shape (m, inputs).
    reduce : callable
        Sums a tensor over processes.

    Examples
    --------
    >>> x, delta = torch.randn(50, 4), torch.randn(50, 4)
    >>> found = singular_directions(x, delta, torch.ones(50, 1), torch.eye(4)[:2])
    >>> exact = torch.linalg.svdvals(delta.T @ x)
    >>> torch.allclose(found.sigma, exact[:2], rtol=1e-2)
    True
    """
    distinct = distinct and len(start) <= inputs.shape[1] - (0 if avoid is None else len(avoid))

    def project(rows: Tensor) -> Tensor:
        if avoid is not None:
            rows = rows - rows @ avoid.T @ avoid
        return in_order(rows) if distinct else unit_rows(rows)

    right = project(start)
    sigma = None
    for _ in range(ITERATIONS):
        left = reduce(((inputs @ right.T) * weights).T @ gradients)
        before, sigma = sigma, left.norm(dim=1)
        if before is not None and bool(((sigma - before).abs() <= TOLERANCE * sigma).all()):
            break
        back = reduce(((gradients @ unit_rows(left).T) * weights).T @ inputs)
        if not bool((back.norm(dim=1) > 0).all()):
            break
        right = project(back)
    left = reduce(((inputs @ right.T) * weights).T @ gradients)
    return Directions(right, unit_rows(left), left.norm(dim=1))
