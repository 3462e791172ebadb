"""Distributions and statistics that several priors use, in float64."""
