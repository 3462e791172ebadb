"""Shards of a harvest: tables, files, storage, and the work on them."""
