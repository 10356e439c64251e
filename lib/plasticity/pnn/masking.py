"""Masking: which tokens are hidden, drawn anew for training and fixed for evaluation."""

from dataclasses import dataclass

import torch
from torch import Tensor

IGNORED_LABEL = -100  # what cross-entropy leaves out


@dataclass(frozen=True)
class MaskingRule:
    """The reference's rule: hide each ordinary token with one probability, always as ``[MASK]``.

    Parameters
    ----------
    mask_token_id : int
    special_token_ids : tuple of int
        Ids that are never hidden.
    probability : float
        In (0, 1).

    Raises
    ------
    ValueError
        If `probability` is out of its range.
    """

    mask_token_id: int
    special_token_ids: tuple[int, ...]
    probability: float = 0.15

    def __post_init__(self):
        if not 0 < self.probability < 1:
            raise ValueError(f"probability must be in (0, 1), got {self.probability}")

    def apply(self, input_ids: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Hide tokens.

        Parameters
        ----------
        input_ids : Tensor of int64, shape (sequences, length)
        generator : torch.Generator
            A CPU generator; the same state gives the same mask.

        Returns
        -------
        masked_ids : Tensor of int64, shape (sequences, length)
        labels : Tensor of int64, shape (sequences, length)
            The original id where a token is hidden, -100 elsewhere.

        Examples
        --------
        >>> rule = MaskingRule(mask_token_id=4, special_token_ids=(0, 1, 2, 3, 4), probability=0.5)
        >>> masked, labels = rule.apply(torch.full((1, 8), 9), torch.Generator().manual_seed(0))
        >>> bool(((masked == 4) == (labels == 9)).all())
        True
        """
        special = torch.isin(input_ids, torch.tensor(self.special_token_ids))
        hidden = (torch.rand(input_ids.shape, generator=generator) < self.probability) & ~special
        masked_ids = input_ids.masked_fill(hidden, self.mask_token_id)
        return masked_ids, input_ids.masked_fill(~hidden, IGNORED_LABEL)


def fixed_masks(sequences: Tensor, rule: MaskingRule, seed: int) -> tuple[Tensor, Tensor]:
    """Mask a whole evaluation set once, so that every model is scored on the same tokens.

    Parameters
    ----------
    sequences : Tensor of int64, shape (sequences, length)
    rule : MaskingRule
    seed : int

    Returns
    -------
    tuple of Tensor
        Masked ids and labels, as `MaskingRule.apply` gives them.
    """
    return rule.apply(sequences, torch.Generator().manual_seed(seed))


def unmasked(masked_ids: Tensor, labels: Tensor) -> Tensor:
    """Put hidden tokens back.

    Parameters
    ----------
    masked_ids, labels : Tensor of int64, shape (sequences, length)
        As `MaskingRule.apply` gives them.

    Returns
    -------
    Tensor of int64, shape (sequences, length)
        What was masked.

    Examples
    --------
    >>> unmasked(torch.tensor([[7, 4, 9]]), torch.tensor([[IGNORED_LABEL, 8, IGNORED_LABEL]]))
    tensor([[7, 8, 9]])
    """
    return torch.where(labels == IGNORED_LABEL, masked_ids, labels)
