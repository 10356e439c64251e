"""A small PNN that was never trained, for tests of analyses."""

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
