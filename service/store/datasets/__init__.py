"""Stored, built-in and hub datasets: import, templates, splits, items."""
