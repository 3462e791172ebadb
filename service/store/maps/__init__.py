"""Stored maps: fitted projections and their points."""
