"""Storage of runs: records, log of events, checkpoints, outputs, and state transitions."""
