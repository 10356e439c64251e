"""neuron-graph: a CPU graph of identity-bearing neurons that spreads activation and learns locally.

No matrix product and no backpropagation: `Brain` is the one class that every domain uses.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plasticity.substrate.brain import Brain
    from plasticity.substrate.emission import Emission
    from plasticity.substrate.rules import Relation
    from plasticity.substrate.structures import NEURON_DTYPE, SYNAPSE_DTYPE

__all__ = ["NEURON_DTYPE", "SYNAPSE_DTYPE", "Brain", "Emission", "Relation"]

_MODULES = {
    "Brain": "brain",
    "Emission": "emission",
    "Relation": "rules",
    "NEURON_DTYPE": "structures",
    "SYNAPSE_DTYPE": "structures",
}


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
