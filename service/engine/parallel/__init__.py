"""Tensor parallelism: one model divided over the processes of one host, its ranks."""
