"""Asynchronous nouns."""
