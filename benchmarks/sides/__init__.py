"""Sides of the benchmarks: the engine, the service, and their baselines."""
