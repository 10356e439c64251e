"""Figures: one module per system, tidy rows in, a matplotlib Figure out."""
