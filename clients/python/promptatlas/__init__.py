"""Prompt Atlas SDK."""
