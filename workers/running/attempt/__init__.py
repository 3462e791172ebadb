"""One attempt at a run: execution, progress, checkpoints, helpers, end."""
