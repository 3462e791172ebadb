"""Results of a tuning run: evaluation, prompt versions with their lineage, curves, and external recorders."""
