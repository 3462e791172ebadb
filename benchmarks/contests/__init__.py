"""Contests: the work, its sides and its goals."""
