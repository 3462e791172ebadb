"""Harvests: the states of a whole dataset's texts, in shards that any number of workers fill side by side.

What a shard holds follows from the dataset and the spec alone, and the texts of one shard are computed together and with no
others: so a shard comes out the same whoever computes it, is never computed again once it is there, and may be computed
twice without harm.

    runs/{id}/plan.json                        which texts each shard holds
    runs/{id}/outputs/shards%2F00003.…/        a shard, see tables
    runs/{id}/outputs/manifest.json/           all shards, once they are there
"""
