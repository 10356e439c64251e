"""Plastic Neural Networks: one gated refinement module, applied recurrently, against BERT.

The names below are loaded when they are first used, so that a part that needs no torch, such as
`plasticity.pnn.tokenization`, starts at once.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plasticity.pnn.baseline import BertBaselineForMaskedLM
    from plasticity.pnn.configuration import BertBaselineConfig, PnnConfig, linear_step_weights
    from plasticity.pnn.modeling import MaskedLMOutput, PnnForMaskedLM, PnnModel, PnnOutput

__all__ = [
    "BertBaselineConfig",
    "BertBaselineForMaskedLM",
    "MaskedLMOutput",
    "PnnConfig",
    "PnnForMaskedLM",
    "PnnModel",
    "PnnOutput",
    "linear_step_weights",
]

_MODULES = {
    "BertBaselineForMaskedLM": "baseline",
    "BertBaselineConfig": "configuration",
    "PnnConfig": "configuration",
    "linear_step_weights": "configuration",
}


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES.get(name, 'modeling')}"), name)
