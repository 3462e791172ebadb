"""Contests of completions."""
