"""The priors, one class a file, and the registry that builds them."""
