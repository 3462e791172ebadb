"""Shards of a harvest: plan, tables, file formats and storage."""
