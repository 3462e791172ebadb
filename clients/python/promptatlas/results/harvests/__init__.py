"""Harvests: shards on disk, and the tables and batches read from them."""
