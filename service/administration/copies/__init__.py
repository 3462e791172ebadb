"""Copies of a whole store: backup and restore."""
