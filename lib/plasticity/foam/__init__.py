"""Neural Foam: feed-forward blocks that grow neurons while a language model is fine-tuned.

`get_growable_model(model, GrowthConfig())` wraps a model; the names of the project's README
(`GrowableLinear`, `GrowableQwen`, `MemoryReplayBuffer`, `CurriculumLearning`) stand beside it. All
are loaded when they are first used.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plasticity.foam.configuration import GrowthConfig
    from plasticity.foam.events import GrowthResult
    from plasticity.foam.feed_forward import UnsupportedArchitecture
    from plasticity.foam.initializers import GrowthSkipped
    from plasticity.foam.model import GrowableModel, attach_optimizer, get_growable_model
    from plasticity.foam.saving import OtherBase

__all__ = [
    "GrowableModel",
    "GrowthConfig",
    "GrowthResult",
    "GrowthSkipped",
    "OtherBase",
    "UnsupportedArchitecture",
    "attach_optimizer",
    "get_growable_model",
]

_MODULES = {
    "GrowthConfig": "configuration",
    "GrowthResult": "events",
    "GrowthSkipped": "initializers",
    "OtherBase": "saving",
    "UnsupportedArchitecture": "feed_forward",
}


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES.get(name, 'model')}"), name)
