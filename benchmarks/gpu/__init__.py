"""Benchmarks of one device against the floors of its memory and arithmetic, with random models of real shapes."""
