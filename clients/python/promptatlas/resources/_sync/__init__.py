# Generated from promptatlas.resources._async by generate_sync.py: edit that module, then run `make generate`.
"""Synchronous nouns."""
