"""How weights start: the reference's way, and one that lets small models learn.

The reference draws every linear layer and embedding from N(0, 0.02), which suits a width of 768.
At widths of 64 to 128 the blocks then pass almost no signal and training stays at the rate of the
most frequent token. ``width_scaled`` starts linear layers Xavier-uniform, token embeddings with a
standard deviation of ``hidden_size ** -0.5``, and positions as sinusoids of ``position_scale``
times that size: all hidden tokens look alike, so where they stand is what attention has to go by.
``depth_scaled`` does the same, and starts the last layer of every residual branch smaller by the
square root of twice the number of blocks (Radford et al. 2019, section 2.3; Shoeybi et al. 2019 for
BERT), so that a deep stack of BERT's layers starts close to its embeddings. The norm on PNN's
proposal undoes it for that layer.
"""

import math

import torch
from torch import Tensor, nn
from transformers import initialization as init


def sinusoids(length: int, width: int) -> Tensor:
    """Return sinusoidal positions (Vaswani et al. 2017, section 3.5), shape (length, width).

    Examples
    --------
    >>> sinusoids(3, 4).shape
    torch.Size([3, 4])
    """
    frequency = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    angle = torch.arange(length)[:, None] * frequency
    table = torch.zeros(length, width)
    table[:, 0::2] = angle.sin()
    table[:, 1::2] = angle.cos()[:, : width // 2]
    return table


def scale_to_width(module: nn.Module) -> None:
    """Apply the width-scaled start to one linear layer or embedding; leave others alone."""
    if isinstance(module, nn.Linear):
        init.xavier_uniform_(module.weight)
        init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        init.normal_(module.weight, std=module.embedding_dim**-0.5)


def scale_branch(last: nn.Linear, blocks: int) -> None:
    """Shrink the last layer of a residual branch, for a state that `blocks` blocks add to."""
    init.copy_(last.weight, last.weight * (2 * blocks) ** -0.5)


def scale_positions(embedding: nn.Embedding, scale: float) -> None:
    """Start position embeddings as sinusoids, `scale` times the size of tokens."""
    table = sinusoids(embedding.num_embeddings, embedding.embedding_dim)
    size = scale * embedding.embedding_dim**-0.5
    init.copy_(embedding.weight, table * math.sqrt(2) * size)
