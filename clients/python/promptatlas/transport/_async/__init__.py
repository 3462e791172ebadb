"""Asynchronous transport."""
