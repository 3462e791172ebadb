"""Readers of a model's states: causal language models through the engine, and encoder–decoders."""
