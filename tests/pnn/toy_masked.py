"""A small PNN that was never trained, for tests of analyses."""

import numpy as np
import torch

from plasticity.pnn import PnnConfig, PnnForMaskedLM
from plasticity.pnn.masking import MaskingRule

RULE = MaskingRule(4, (0, 1, 2, 3, 4), 0.3)


def toy_model(seed: int = 0, reading: str = "as_released") -> PnnForMaskedLM:
    torch.manual_seed(seed)
    config = PnnConfig(
        vocab_size=40,
        hidden_size=16,
        num_attention_heads=2,
        intermediate_size=24,
        max_position_embeddings=12,
        initialization="width_scaled",
        reading=reading,
    )
    return PnnForMaskedLM(config).eval()


def toy_ids(sequences: int) -> torch.Tensor:
    return torch.randint(5, 40, (sequences, 12), generator=torch.Generator().manual_seed(1))


def sampler(masks):
    """Stand in for `MaskedCorpus.test_sample`: the first sequences, two of each document."""
    documents = np.arange(len(masks[0])) // 2
    return lambda count: (*(part[:count] for part in masks), documents[:count])
