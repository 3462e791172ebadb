"""Posteriors of tuning runs: their members, Laplace approximation, diagnostics of chains, and evaluation."""
