"""What a tuning run leaves: evaluation, prompt versions with lineage, curves, and external recorders."""
