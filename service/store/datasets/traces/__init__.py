"""Datasets of samples that a ``generate`` run has made, with the most probable tokens at each generated token."""
