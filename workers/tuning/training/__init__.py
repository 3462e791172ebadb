"""Trainer of the members of a run, which share forwards. It uses the engine and torch, but neither store nor queue."""
