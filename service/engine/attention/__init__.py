"""Attention: kernels, the metadata of a forward, and the key/value cache."""
