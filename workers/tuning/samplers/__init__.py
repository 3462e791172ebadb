"""Samplers of prompts that train together: Stein variational gradient descent, and Langevin dynamics."""
