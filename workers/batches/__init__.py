"""Batches: the requests of a file in OpenAI's format, answered in shards that several workers compute.

runs/{id}/plan.json                       lines of each shard
runs/{id}/outputs/results%2F00003.…/      answers of one shard: a line for each request, in order
runs/{id}/outputs/counts.json/            requests with a response and with an error, so far
files/file-{id}-output/                   the responses, in the order of the requests
files/file-{id}-errors/                   the errors
"""
