"""Contests on SmolLM2-135M-Instruct in bfloat16, the model of ``make smollm2``."""
