"""Generation over datasets: samples of a model for every item, in shards that several workers compute, kept as a dataset.

A shard depends only on the dataset and the spec: each sample has its own seed, and the samples of a shard are never batched
with those of another. A shard is therefore the same whichever worker computes it.

    runs/{id}/plan.json                      items of each shard, and what the samples depend on
    runs/{id}/outputs/traces%2F00003.…/      samples of one shard, see ``samples.trace``
    runs/{id}/outputs/topk%2F00003.…/        most probable tokens of the same samples
    datasets/{name}/                         the samples that the run keeps
"""
