"""The engine: a frozen causal model, compiled prompts, one continuous batch. Knows no HTTP, no Redis, no paths."""
