"""What runs, maps and reports refer to, so that retention keeps it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.store.artifacts.store import ArtifactStore
from service.store.runs.ids import is_run_id
from service.store.runs.records import RunRecord, RunState

RESUMABLE = frozenset({"failed", "cancelled"})
"""Final statuses of runs that can be resumed."""

_PROMPT_HASH = "sha256:"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A run. has_outputs: whether any output of it is stored."""

    record: RunRecord
    state: RunState
    has_outputs: bool

    @property
    def is_live(self) -> bool:
        """Whether it is queued, running, or can be resumed."""
        return not self.state.has_ended or self.state.status in RESUMABLE


def referenced_runs(rows: Sequence[Row], *, artifacts: ArtifactStore) -> set[str]:
    """Ids of the runs that others refer to.

    A queued, running or resumable run, a map and a report refer to the runs that their specs name, and to the runs that
    tuned the prompts that their specs name: maps and reports show the draws of prompts.
    """
    referring = [row for row in rows if row.is_live or (row.record.kind in ("map", "report") and row.has_outputs)]
    texts = {row.record.id: set(_texts([row.record.spec, row.record.resolved])) for row in referring}
    makers = _makers(rows)
    found: set[str] = set()
    for run_id, named in texts.items():
        for text in named:
            targets = {text} if is_run_id(text) else _makers_of(text, makers=makers, artifacts=artifacts)
            found |= targets - {run_id}
    return found


def _makers(rows: Iterable[Row]) -> Mapping[str, set[str]]:
    """Runs by the names of the prompts that they made."""
    found: dict[str, set[str]] = {}
    for row in rows:
        for ref in row.state.prompts:
            found.setdefault(ref.partition("@")[0], set()).add(row.record.id)
    return found


def _makers_of(text: str, *, makers: Mapping[str, set[str]], artifacts: ArtifactStore) -> set[str]:
    names = [text.partition("@")[0]]
    if text.startswith(_PROMPT_HASH):
        entries = artifacts.names(f"prompt-hashes/{text.removeprefix(_PROMPT_HASH)}") if text[7:].isalnum() else []
        names = [entry.partition("@")[0] for entry in entries]
    return {run_id for name in names for run_id in makers.get(name, ())}


def _texts(value: Any) -> Iterator[str]:
    """All strings in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _texts(inner)
