"""One attempt at a run: claim, progress, checkpoints, help from other workers, end."""
