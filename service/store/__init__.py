"""Immutable artifacts over fsspec: prompts and their versions, the tensor codec, replayed answers. No torch, no HTTP."""
