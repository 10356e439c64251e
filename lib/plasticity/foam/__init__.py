"""Neural Foam: layers that grow neurons while a language model is fine-tuned (not yet built)."""
