"""Stored samples: one JSON object per line, in the order of the requests.

item           number of the record in the dataset
prompt         index of the prompt in the spec
sample         number of the sample of this item under this prompt, from 0
seed           of the sample: a completion with this seed has the same text
text           as generated
finish_reason  ``stop`` or ``length``
n_input        tokens that the model read
n_tokens       tokens that it generated
revision       what a teacher reports as its version; null for a hosted model
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from service.errors import DamagedArtifact
from service.store.datasets.traces.top_tokens import TopTokens


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One stored sample; see the module."""

    item: int
    prompt: int
    sample: int
    seed: int
    text: str
    finish_reason: str
    n_input: int
    n_tokens: int
    revision: str | None = None


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Samples of one shard. top_tokens: of each sample, if they are kept. vocabulary: as in TopTokensTable."""

    traces: Sequence[Trace]
    top_tokens: Sequence[TopTokens] | None = None
    vocabulary: Sequence[str] | None = None


def write_traces(traces: Iterable[Trace]) -> bytes:
    """Samples as JSON Lines."""
    return "".join(json.dumps(vars(trace), ensure_ascii=False) + "\n" for trace in traces).encode()


def read_traces(data: bytes, *, label: str) -> Iterator[Trace]:
    """Inverse of ``write_traces``; raises DamagedArtifact."""
    for line in data.decode().split("\n"):
        if line:
            try:
                yield Trace(**json.loads(line))
            except (ValueError, TypeError):
                raise DamagedArtifact(f"{label} is damaged: a line is no sample.") from None
