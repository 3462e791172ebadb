"""Harvests: states of all texts of a dataset, in shards that several workers compute in parallel.

The content of a shard depends only on the dataset and the spec, and its texts are never batched with those of another
shard. A shard is therefore the same whichever worker computes it, and computing it twice is harmless.

    runs/{id}/plan.json                        texts of each shard
    runs/{id}/outputs/shards%2F00003.…/        one shard, see ``shards.table``
    runs/{id}/outputs/manifest.json/           all shards; written when they are complete
"""
