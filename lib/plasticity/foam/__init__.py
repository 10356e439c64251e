"""Neural Foam: feed-forward blocks that grow neurons while a language model is fine-tuned.

`get_growable_model(model, GrowthConfig())` wraps a model; the names of the project's README
(`GrowableLinear`, `GrowableQwen`, `MemoryReplayBuffer`, `CurriculumLearning`) stand beside it. All
are loaded when they are first used.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plasticity.foam.callback import GrowthCallback
    from plasticity.foam.causal_lm import GrowableCausalLM, GrowableQwen
    from plasticity.foam.configuration import GrowthConfig
    from plasticity.foam.curriculum import CurriculumLearning
    from plasticity.foam.events import GrowthResult
    from plasticity.foam.feed_forward import UnsupportedArchitecture
    from plasticity.foam.initializers import GrowthSkipped
    from plasticity.foam.linear import GrowableLinear
    from plasticity.foam.model import GrowableModel, attach_optimizer, get_growable_model
    from plasticity.foam.replay import MemoryReplayBuffer
    from plasticity.foam.saving import OtherBase

__all__ = [
    "CurriculumLearning",
    "GrowableCausalLM",
    "GrowableLinear",
    "GrowableModel",
    "GrowableQwen",
    "GrowthCallback",
    "GrowthConfig",
    "GrowthResult",
    "GrowthSkipped",
    "MemoryReplayBuffer",
    "OtherBase",
    "UnsupportedArchitecture",
    "attach_optimizer",
    "get_growable_model",
]

_MODULES = {
    "CurriculumLearning": "curriculum",
    "GrowableCausalLM": "causal_lm",
    "GrowableLinear": "linear",
    "GrowableQwen": "causal_lm",
    "GrowthCallback": "callback",
    "GrowthConfig": "configuration",
    "GrowthResult": "events",
    "GrowthSkipped": "initializers",
    "MemoryReplayBuffer": "replay",
    "OtherBase": "saving",
    "UnsupportedArchitecture": "feed_forward",
}


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES.get(name, 'model')}"), name)
