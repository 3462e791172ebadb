"""Evidence for the findings: tuned prompts, states and trajectories, read from the stores and the model."""
