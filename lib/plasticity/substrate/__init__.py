"""neuron-graph: a CPU graph of neurons that learns locally (not yet built)."""
