"""Contests of the trainer on random models."""
