"""Runs: what the server reports about one, its curves and its live display."""
