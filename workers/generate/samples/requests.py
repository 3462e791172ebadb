"""Requests of a run: each item of the dataset, under each prompt, ``n`` times, each with its own seed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from promptatlas.types.generation import GenerateSpec

from service.store.datasets.items import Example
from workers.inputs.framing import Framing, Messages


@dataclass(frozen=True, kw_only=True)
class SampleRequest:
    """One sample to generate. prompt: index in the spec. input: a text, or messages of a chat."""

    item: int
    prompt: int
    sample: int
    seed: int
    input: str | Messages


def requests_of(example: Example, *, spec: GenerateSpec, framing: Framing) -> Iterator[SampleRequest]:
    """The requests of one item, prompt by prompt."""
    own = framing.input_of(example)
    for prompt in range(len(spec.prompt_refs)):
        for sample in range(spec.n):
            seed = seed_of(spec.seed, item=example.index, prompt=prompt, sample=sample)
            yield SampleRequest(item=example.index, prompt=prompt, sample=sample, seed=seed, input=own)


def seed_of(seed: int, *, item: int, prompt: int, sample: int) -> int:
    """Seed of one sample, 48 bits: it depends on nothing but these numbers."""
    digest = hashlib.blake2b(f"{seed}/{item}/{prompt}/{sample}".encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big")
