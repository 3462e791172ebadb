"""Distributions and statistics that the priors share, in float64."""
