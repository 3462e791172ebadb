"""Records of runs: their log, events, checkpoints, outputs, and transitions."""
