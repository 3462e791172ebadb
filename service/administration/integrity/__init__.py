"""Checks of a whole store, and repairs that lose nothing."""
