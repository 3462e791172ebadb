"""Requests of a run: each item of the dataset, under each prompt, ``n`` times, each with its own seed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from promptatlas.types.generation import GenerateSpec, Shots

from service.store.datasets.items import Example
from service.store.datasets.store import DatasetStore

Messages = tuple[dict[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class SampleRequest:
    """One sample to generate. prompt: index in the spec. input: a text, or messages of a chat."""

    item: int
    prompt: int
    sample: int
    seed: int
    input: str | Messages


class Framing:
    """What a model reads for an item: the context of the spec, then the item.

    Args:
        shots: examples for a context of shots, one more than each item gets.
    """

    def __init__(self, spec: GenerateSpec, *, shots: Sequence[Example] = ()) -> None:
        self._context = spec.context
        self._shots = shots

    @classmethod
    def of(cls, spec: GenerateSpec, *, datasets: DatasetStore) -> Framing:
        """Read the examples that a context of shots needs."""
        if not isinstance(spec.context, Shots):
            return cls(spec)
        chosen = datasets.examples(
            spec.dataset,
            split=spec.context.split,
            n=spec.context.shots + 1,
            seed=spec.seed,
            template=spec.template,
        )
        return cls(spec, shots=list(chosen))

    def input_of(self, example: Example) -> str | Messages:
        """A text, or messages of a chat."""
        own = example.input or ""
        context = self._context
        if context is None:
            return own
        if isinstance(context, str):
            return context + own
        if isinstance(context, Shots):
            others = [shot for shot in self._shots if shot.index != example.index][: context.shots]
            shots = (f"{shot.input}{shot.target}{context.separator}" for shot in others)
            return "".join(shots) + own
        turns = [{"role": turn.role, "content": turn.content} for turn in context]
        return (*turns, {"role": "user", "content": own})


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
