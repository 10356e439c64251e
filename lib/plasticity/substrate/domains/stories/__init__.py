"""A language model of stories: counting synapses of context neurons, mixed by local learning."""
