"""Benchmarks of the engine and the service against alternatives, as ratios within one run on one machine."""
