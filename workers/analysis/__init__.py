"""Statistics of clouds, prompts and trajectories: pure functions over NumPy arrays, without store, engine or torch.

``docs/measures.md`` has the formula and source of each measure.
"""
