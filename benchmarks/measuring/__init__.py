"""Contests between sides: checks, timing and reports."""
