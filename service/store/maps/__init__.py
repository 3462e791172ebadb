"""Stored maps: their bases, and their points in columns."""
