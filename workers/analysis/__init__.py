"""Measures of clouds, prompts and trajectories: arrays in, numbers out. No store, no engine, no torch.

Every measure is defined, with formula and source, in ``docs/measures.md``.
"""
