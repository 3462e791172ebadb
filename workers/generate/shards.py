"""Stored shards of a ``generate`` run: samples, and their most probable tokens if the run keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from service.store.artifacts.store import ArtifactStore
from service.store.datasets.traces.top_tokens import TopTokensTable
from service.store.runs.records import Output
from workers.generate.plan import PlanFile
from workers.generate.samples.trace import Samples, Trace, read_traces, write_traces
from workers.running.shards.store import ShardFiles


class TraceShards:
    """Shards of one run by number; a :class:`workers.running.shards.sharing.StoredShards`.

    Args:
        has_top_tokens: whether a shard has a file of most probable tokens too.
    """

    def __init__(self, artifacts: ArtifactStore, *, run_id: str, has_top_tokens: bool) -> None:
        self._run_id = run_id
        self._traces = ShardFiles(artifacts, run_id=run_id, folder="traces", suffix="jsonl")
        self._top = ShardFiles(artifacts, run_id=run_id, folder="topk", suffix="safetensors")
        self._has_top_tokens = has_top_tokens

    def find(self, number: int) -> Output | None:
        """The samples of a shard, or None if a file of it is missing or damaged."""
        if self._has_top_tokens and self._top.find(number) is None:
            return None
        return self._traces.find(number)

    def find_all(self, numbers: Iterable[int]) -> dict[int, Output]:
        """The complete shards among ``numbers``."""
        wanted = list(numbers)
        if self._has_top_tokens:
            wanted = sorted(self._top.find_all(wanted))
        return self._traces.find_all(wanted)

    def put(self, number: int, samples: Samples, *, header: Mapping[str, Any]) -> Output:
        """Store a shard unless it is already stored; the samples last, which complete it."""
        if samples.top_tokens is not None:
            table = TopTokensTable(rows=samples.top_tokens, header=header, vocabulary=samples.vocabulary)
            self._top.write(number, lambda file: _write(file, table.to_bytes()))
        return self._traces.write(number, lambda file: _write(file, write_traces(samples.traces)))

    def copy(self, number: int, *, source: TraceShards) -> Output:
        """Store a shard of another run."""
        if self._has_top_tokens:
            self._top.write(number, lambda file: _write(file, source._top.read(number)))
        return self._traces.write(number, lambda file: _write(file, source._traces.read(number)))

    def traces(self, number: int) -> list[Trace]:
        """The samples of a shard."""
        return list(read_traces(self._traces.read(number), label=self._label(number)))

    def top_tokens(self, number: int) -> TopTokensTable:
        """Their most probable tokens, in the same order."""
        return TopTokensTable.from_bytes(self._top.read(number), label=self._label(number))

    def _label(self, number: int) -> str:
        return f"shard {number} of run {self._run_id}"


def runs_with_key(artifacts: ArtifactStore, *, key: str, besides: str) -> Iterator[str]:
    """Ids of the other runs with the same samples, newest first."""
    for run_id in reversed(artifacts.names("runs")):
        if run_id != besides and PlanFile(artifacts, run_id=run_id).key() == key:
            yield run_id


def _write(file: Path, data: bytes) -> None:
    file.write_bytes(data)
