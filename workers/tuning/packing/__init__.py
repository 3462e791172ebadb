"""Packed rows of members and examples, and the attention between their tokens."""
