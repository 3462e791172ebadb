"""Tensors of a result file: safetensors read lazily, as numpy, torch or pandas."""
