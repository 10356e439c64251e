"""Dropout with cheap masks on a CPU."""

import torch
from torch import Tensor, nn


class Dropout(nn.Dropout):
    """Dropout that decides four times for each 64 bits drawn where the tensor is on a CPU.

    torch draws one double for each element there, which takes several times as long as all other
    work at a dropout site. Sixteen bits an element round the rate to a multiple of 2**-16.

    Examples
    --------
    >>> Dropout(0.5)(torch.ones(3, 4)).unique()
    tensor([0., 2.])
    """

    def forward(self, input: Tensor) -> Tensor:
        """Drop elements and scale the others up in training; else return the input."""
        dropped = round(self.p * 2**16)
        if not self.training or not 0 < dropped < 2**16 or input.device.type != "cpu":
            return super().forward(input)
        draws = torch.empty(-(-input.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        draws = draws.view(torch.int16)[: input.numel()].view(input.shape)
        # Of the input's type: booleans take a quarter of the memory, and twice the time.
        mask = torch.ge(draws, dropped - 2**15, out=torch.empty_like(input))
        return input * mask.mul_(2**16 / (2**16 - dropped))
