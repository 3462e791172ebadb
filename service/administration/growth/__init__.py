"""Removal of what is old, too large together, or no longer referenced."""
