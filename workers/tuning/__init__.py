"""Runs that tune prompts of a frozen model."""
