"""Samples: what is requested of a model, where it comes from, and how it is stored."""
