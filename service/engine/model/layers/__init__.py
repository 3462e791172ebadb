"""Layers that compute the same as those of transformers, faster."""
