"""What the substrate is used for: encoders and tasks, over the public primitives of `Brain`."""
