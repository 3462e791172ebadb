"""Contests of the store: pages of long lists."""
