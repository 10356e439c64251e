"""Established methods, written here so that they can be run beside the three systems."""
