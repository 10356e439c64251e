"""Networks that change themselves: growable layers, a plastic neuron graph, recurrent refinement.

Nothing heavy is imported here; ``plasticity.foam``, ``plasticity.substrate`` and
``plasticity.pnn`` each load only what they need.
"""

__version__ = "0.1.0"
