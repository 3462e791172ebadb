"""Immutable, content-hashed artifacts over fsspec, and the tensor codec."""
