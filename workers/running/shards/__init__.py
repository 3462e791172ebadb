"""Shards of a run: stored once each, computed by several workers that coordinate by leases."""
