"""Tuned prompts: kinds, their compiled keys and values, and the cache of compiled prompts."""
