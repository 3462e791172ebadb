"""Execution of runs: the interface of kinds of work, one attempt at a run, and the pool of worker processes."""
