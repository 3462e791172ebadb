"""Projections to two or three dimensions: fitted once, stored as tensors, and applied to new points.

Works on numpy arrays, without torch. A basis is stored as tensors and JSON and is rebuilt from them; nothing is pickled.
``placement`` and ``placement_process`` apply stored bases for the API process.
"""
