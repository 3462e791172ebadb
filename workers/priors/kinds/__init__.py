"""The priors, one class per module, and their registry."""
