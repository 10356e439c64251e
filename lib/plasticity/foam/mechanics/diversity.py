"""Orthogonalising newborns: what is left of one where the rows that exist fill the space."""

from dataclasses import dataclass

import torch
from torch import Tensor

from plasticity.foam.directions import unit_rows

NOISE = 0.01


@dataclass(frozen=True)
class Remainder:
    """What orthogonalising against all rows leaves of copies of them, means over the copies.

    Attributes
    ----------
    share : float
        Norm of what is left, relative to the copy.
    agreement : float
        Cosine between the directions left when the same rows are taken in two orders: 1 if the
        direction means something, about 0 if it is rounding.
    source : float
        Absolute cosine of what is left with the row that was copied.
    """

    share: float
    agreement: float
    source: float


def orthogonalize_against_all(candidates: Tensor, rows: Tensor) -> Tensor:
    """Return candidates without their part in the span of rows, in their own type.

    As the README has it: nothing is refused, and what is left keeps its size, so that it can be
    looked at. `plasticity.foam.directions.orthogonalize` is the one to use.
    """
    basis = torch.linalg.qr(rows.T)[0]
    return candidates - candidates @ basis @ basis.T


def copies(sources: Tensor, generator: torch.Generator) -> Tensor:
    """Return rows as the README makes them: those of the sources plus noise, shape as given."""
    noise = torch.randn(sources.shape, generator=generator) / sources.shape[1] ** 0.5
    return sources + NOISE * sources.norm(dim=1, keepdim=True) * noise


def remainder(rows: Tensor, count: int, generator: torch.Generator) -> Remainder:
    """Copy rows, add noise, orthogonalise against all rows; say what is left.

    Parameters
    ----------
    rows : Tensor
        Shape (width, inputs).
    count : int
        Number of newborns, at most the width.
    generator : torch.Generator
        Draws which rows are copied, and the noise.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> remainder(torch.eye(8)[:4], 4, generator).agreement > 0.99
    True
    >>> remainder(torch.randn(64, 8, generator=generator), 4, generator).share < 1e-5
    True
    """
    sources = rows[torch.randperm(len(rows), generator=generator)[:count]]
    newborns = copies(sources, generator)
    left = orthogonalize_against_all(newborns, rows)
    again = orthogonalize_against_all(newborns, rows.flip(0))
    return Remainder(
        share=float((left.norm(dim=1) / newborns.norm(dim=1)).mean()),
        agreement=float((unit_rows(left) * unit_rows(again)).sum(1).mean()),
        source=float((unit_rows(left) * unit_rows(sources)).sum(1).abs().mean()),
    )


def likeness(rows: Tensor) -> float:
    """Return the mean absolute cosine between different rows.

    Examples
    --------
    >>> likeness(torch.eye(3))
    0.0
    """
    cosines = (unit_rows(rows) @ unit_rows(rows).T).abs()
    return float((cosines.sum() - cosines.trace()) / (len(rows) * (len(rows) - 1)))
