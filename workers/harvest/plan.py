"""The plan of a harvest: which texts each shard holds. Made once from token counts alone, kept, and followed by everyone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from service.errors import DamagedArtifact
from service.store.artifacts.store import ArtifactStore
from workers.harvest.readers.reader import HarvestReader, RowKind, Shapes

if TYPE_CHECKING:
    from service.store.datasets.items import Example

MIN_SHARD_TOKENS, MAX_SHARD_TOKENS = 1 << 14, 1 << 20
"""Where rows are so small that all would fit one shard, a shard's work is bounded instead: by these, and such that there are …"""

N_SHARED = 64
"""… about this many shards, for many workers to share."""

TOKEN_ROW_BYTES, TEXT_ROW_BYTES = 48, 24
"""What a row holds beside its states: which token of which text it is."""

_N_AT_ONCE = 256


@dataclass(frozen=True, kw_only=True)
class PlannedShard:
    """Consecutive texts. first_example, n_examples: which records of the dataset they are of, those left out among them."""

    number: int
    first_example: int
    n_examples: int
    first_text: int
    n_texts: int
    n_rows: int
    n_tokens: int


@dataclass(frozen=True, kw_only=True)
class HarvestPlan:
    """All shards, and what they are of.

    revision, prompt_sha256, dataset_sha256: must be the same for whoever goes on with it. longest: tokens of the longest
    text. tensors: the shape of a row of each. row_bytes: of all tensors and what stands beside them.
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
        """Of all shards."""
        return sum(shard.n_texts for shard in self.shards)

    @property
    def n_tokens(self) -> int:
        """Of all shards."""
        return sum(shard.n_tokens for shard in self.shards)

    @property
    def n_rows(self) -> int:
        """Of all shards."""
        return sum(shard.n_rows for shard in self.shards)

    @property
    def n_bytes(self) -> int:
        """About what all shards hold, without texts."""
        return self.n_rows * self.row_bytes

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any], *, label: str) -> HarvestPlan:
        """The inverse of ``to_json``; DamagedArtifact for another form."""
        try:
            shards = tuple(PlannedShard(**shard) for shard in found["shards"])
            tensors = {name: tuple(shape) for name, shape in found["tensors"].items()}
            return cls(**{**found, "shards": shards, "tensors": tensors})
        except (AttributeError, KeyError, TypeError) as error:
            raise DamagedArtifact(f"{label} is damaged: it has an unknown form.") from error


@dataclass(frozen=True, kw_only=True)
class _Size:
    example: int
    n_tokens: int
    n_rows: int


def make_plan(
    reading: HarvestReader,
    examples: Iterable[Example],
    *,
    dataset_sha256: str,
    shard_bytes: int,
    check: Callable[[], None],
) -> HarvestPlan:
    """Count the tokens of all examples, and cut them into shards. The same examples always give the same plan.

    Args:
        shard_bytes: what a shard's rows hold at most, unless one text alone is larger.
        check: called now and then; what it raises ends the planning.
    """
    sizes: list[_Size] = []
    longest, n_examples = 1, 0
    for batch in batched(examples):
        check()
        for text in reading.encode(batch):
            if text is not None:
                sizes.append(_Size(example=n_examples, n_tokens=reading.n_tokens(text), n_rows=reading.n_rows(text)))
                longest = max(longest, len(text.ids))
            n_examples += 1
    shapes = reading.shapes(longest=longest)
    row_bytes = row_bytes_of(shapes, itemsize=reading.itemsize, row_kind=reading.row_kind)
    return HarvestPlan(
        revision=reading.identity.revision,
        prompt_sha256=reading.identity.prompt_sha256,
        dataset_sha256=dataset_sha256,
        longest=longest,
        tensors=shapes,
        row_bytes=row_bytes,
        n_dropped=n_examples - len(sizes),
        shards=tuple(_cut(sizes, max_rows=max(1, shard_bytes // row_bytes))),
    )


def row_bytes_of(shapes: Shapes, *, itemsize: int, row_kind: RowKind) -> int:
    """Bytes of one row in all tensors, and of what stands beside them."""
    beside = TOKEN_ROW_BYTES if row_kind == "token" else TEXT_ROW_BYTES
    return itemsize * sum(math.prod(shape) for shape in shapes.values()) + beside


def batched(examples: Iterable[Example], *, n: int = _N_AT_ONCE) -> Iterator[list[Example]]:
    """Examples, some at a time."""
    left = iter(examples)
    while batch := list(islice(left, n)):
        yield batch


def _cut(sizes: Sequence[_Size], *, max_rows: int) -> Iterator[PlannedShard]:
    n_tokens = sum(size.n_tokens for size in sizes)
    max_tokens = min(max(n_tokens // N_SHARED, MIN_SHARD_TOKENS), MAX_SHARD_TOKENS)
    number = start = 0
    while start < len(sizes):
        end = _end_of_shard(sizes, start, max_rows=max_rows, max_tokens=max_tokens)
        inside = sizes[start:end]
        yield PlannedShard(
            number=number,
            first_example=inside[0].example,
            n_examples=inside[-1].example + 1 - inside[0].example,
            first_text=start,
            n_texts=len(inside),
            n_rows=sum(size.n_rows for size in inside),
            n_tokens=sum(size.n_tokens for size in inside),
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


class PlanFile:
    """The plan of one run, where all who work on it find it."""

    def __init__(self, artifacts: ArtifactStore, *, run_id: str) -> None:
        self._artifacts = artifacts
        self._key = f"runs/{run_id}/plan.json"
        self._label = f"the plan of run {run_id}"

    def load(self) -> HarvestPlan | None:
        """The plan; None when there is none yet; DamagedArtifact."""
        found = self._artifacts.get_record(self._key, label=self._label)
        return None if found is None else HarvestPlan.from_json(found, label=self._label)

    def save(self, plan: HarvestPlan) -> None:
        """Keep the plan, over the one before."""
        self._artifacts.put_record(self._key, plan.to_json())
