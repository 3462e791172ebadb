"""Engine: a frozen causal model, compiled prompts and one continuous batch. Knows no HTTP, no Redis and no paths."""
