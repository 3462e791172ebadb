"""Bases: projections to two or three dimensions, fitted once, kept as plain tensors, used again to place new points.

Knows arrays only: no torch, no store, no HTTP. Never pickle: a basis is tensors and facts, and is made from them again.
"""
