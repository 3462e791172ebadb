"""Artifacts: immutable, content-hashed files on any fsspec filesystem, and the tensor codec."""
