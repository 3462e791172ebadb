"""Plan of a harvest: the texts of each shard. It is made once, from token counts, and shared by all workers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from service.errors import DamagedArtifact
from service.store.artifacts.store import ArtifactStore
from workers.harvest.readers.reader import HarvestReader, RowKind, Shapes
from workers.running.shards.plans import PlanRecord

if TYPE_CHECKING:
    from service.store.datasets.items import Example

MIN_SHARD_TOKENS, MAX_SHARD_TOKENS = 1 << 14, 1 << 20
"""Bounds on the tokens per shard, which apply when rows are small; within them, the number of shards is about …"""

N_SHARDS_TARGET = 64
"""… this, so that many workers can share a harvest."""

TOKEN_ROW_BYTES, TEXT_ROW_BYTES = 48, 24
"""Bytes of a row's metadata columns: text, and position and token."""

_BATCH_EXAMPLES = 256


@dataclass(frozen=True, kw_only=True)
class PlannedShard:
    """Consecutive texts. first_example, n_examples: span of records in the dataset, including dropped ones."""

    number: int
    first_example: int
    n_examples: int
    first_text: int
    n_texts: int
    n_rows: int
    n_tokens: int


@dataclass(frozen=True, kw_only=True)
class HarvestPlan:
    """All shards, and the versions that they are computed from.

    revision, prompt_sha256, dataset_sha256: must be equal for every worker. longest: tokens of the longest text. tensors:
    shape of a row by tensor. row_bytes: of all tensors and metadata columns.
    """

    revision: str
    prompt_sha256: str | None
    dataset_sha256: str
    longest: int
    tensors: Shapes
    row_bytes: int
    n_dropped: int
    shards: tuple[PlannedShard, ...]

    @property
    def n_texts(self) -> int:
        """Total of all shards."""
        return sum(shard.n_texts for shard in self.shards)

    @property
    def n_tokens(self) -> int:
        """Total of all shards."""
        return sum(shard.n_tokens for shard in self.shards)

    @property
    def n_rows(self) -> int:
        """Total of all shards."""
        return sum(shard.n_rows for shard in self.shards)

    @property
    def n_bytes(self) -> int:
        """Approximate size of all shards, without texts."""
        return self.n_rows * self.row_bytes

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any], *, label: str) -> HarvestPlan:
        """Inverse of ``to_json``; raises DamagedArtifact if fields are missing or unknown."""
        try:
            shards = tuple(PlannedShard(**shard) for shard in found["shards"])
            tensors = {name: tuple(shape) for name, shape in found["tensors"].items()}
            return cls(**{**found, "shards": shards, "tensors": tensors})
        except (AttributeError, KeyError, TypeError) as error:
            raise DamagedArtifact(f"{label} is damaged: its fields are missing or unknown.") from error


@dataclass(frozen=True, kw_only=True)
class _Size:
    example: int
    n_tokens: int
    n_rows: int


def make_plan(
    reader: HarvestReader,
    examples: Iterable[Example],
    *,
    dataset_sha256: str,
    shard_bytes: int,
    check: Callable[[], None],
) -> HarvestPlan:
    """Count the tokens of all examples and divide them into shards. Deterministic.

    Args:
        shard_bytes: Maximum size of a shard's rows, unless a single text is larger.
        check: Called regularly; may raise to stop.
    """
    sizes: list[_Size] = []
    longest, n_examples = 1, 0
    for batch in batched(examples):
        check()
        for text in reader.encode(batch):
            if text is not None:
                sizes.append(_Size(example=n_examples, n_tokens=reader.n_tokens(text), n_rows=reader.n_rows(text)))
                longest = max(longest, len(text.ids))
            n_examples += 1
    shapes = reader.shapes(longest=longest)
    row_bytes = row_bytes_of(shapes, itemsize=reader.itemsize, row_kind=reader.row_kind)
    return HarvestPlan(
        revision=reader.identity.revision,
        prompt_sha256=reader.identity.prompt_sha256,
        dataset_sha256=dataset_sha256,
        longest=longest,
        tensors=shapes,
        row_bytes=row_bytes,
        n_dropped=n_examples - len(sizes),
        shards=tuple(_cut(sizes, max_rows=max(1, shard_bytes // row_bytes))),
    )


def row_bytes_of(shapes: Shapes, *, itemsize: int, row_kind: RowKind) -> int:
    """Bytes of one row: all tensors and metadata columns."""
    metadata = TOKEN_ROW_BYTES if row_kind == "token" else TEXT_ROW_BYTES
    return itemsize * sum(math.prod(shape) for shape in shapes.values()) + metadata


def batched(examples: Iterable[Example], *, n: int = _BATCH_EXAMPLES) -> Iterator[list[Example]]:
    """Examples in batches of ``n``."""
    remaining = iter(examples)
    while batch := list(islice(remaining, n)):
        yield batch


def _cut(sizes: Sequence[_Size], *, max_rows: int) -> Iterator[PlannedShard]:
    n_tokens = sum(size.n_tokens for size in sizes)
    max_tokens = min(max(n_tokens // N_SHARDS_TARGET, MIN_SHARD_TOKENS), MAX_SHARD_TOKENS)
    number = start = 0
    while start < len(sizes):
        end = _end_of_shard(sizes, start, max_rows=max_rows, max_tokens=max_tokens)
        members = sizes[start:end]
        yield PlannedShard(
            number=number,
            first_example=members[0].example,
            n_examples=members[-1].example + 1 - members[0].example,
            first_text=start,
            n_texts=len(members),
            n_rows=sum(size.n_rows for size in members),
            n_tokens=sum(size.n_tokens for size in members),
        )
        number, start = number + 1, end


def _end_of_shard(sizes: Sequence[_Size], start: int, *, max_rows: int, max_tokens: int) -> int:
    n_rows = n_tokens = 0
    for end in range(start, len(sizes)):
        n_rows += sizes[end].n_rows
        n_tokens += sizes[end].n_tokens
        if end > start and (n_rows > max_rows or n_tokens > max_tokens):
            return end
    return len(sizes)


class PlanFile(PlanRecord[HarvestPlan]):
    """The stored plan of one harvest."""

    def __init__(self, artifacts: ArtifactStore, *, run_id: str) -> None:
        super().__init__(artifacts, run_id=run_id, parse=lambda found, label: HarvestPlan.from_json(found, label=label))
