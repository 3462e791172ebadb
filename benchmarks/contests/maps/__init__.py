"""Contests of maps, the page and statistics."""
