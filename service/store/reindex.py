"""Comparison of the index with the files, and its repair; at the first start it builds the index.

Readers use the index meanwhile if it was usable before. What is written meanwhile is in ``changes`` and read at the end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from service.errors import DamagedArtifact
from service.store.artifacts.clock import Clock, utc_now
from service.store.artifacts.store import ArtifactStore
from service.store.datasets.files import DatasetFiles
from service.store.index.entries import DELETED, UNKNOWN, NameEntry, Noun, RunEntry, TagEntry
from service.store.index.index import StoreIndex
from service.store.runs.ids import is_run_id
from service.store.runs.summaries import RunSummaries

_BATCH_SIZE = 200


@dataclass(frozen=True, kw_only=True)
class ReindexReport:
    """Numbers of entries: in the files; not in the index before; with another kind or status; in the index only."""

    n_entries: int
    n_missing: int
    n_changed: int
    n_extra: int


class Reindex:
    """Compares and rebuilds; safe while services and workers use the store.

    Args:
        artifacts: The store.
        index: Its index.
        clock: Determines which changes are read at the end.
    """

    def __init__(self, artifacts: ArtifactStore, *, index: StoreIndex, clock: Clock = utc_now) -> None:
        self._artifacts = artifacts
        self._index = index
        self._clock = clock

    def run(self) -> ReindexReport:
        """Compare the index with all files, and repair it.

        Raises:
            IndexUnavailable: The database failed.
            Unavailable: The store failed.
        """
        began = self._clock()
        epoch = self._index.begin_build()
        reports = [
            self._names("prompt", lambda: self._artifacts.names("prompts")),
            self._names("dataset", DatasetFiles(self._artifacts).names),
            self._runs(),
        ]
        self._index.end_build(epoch, began=began)
        return ReindexReport(
            n_entries=sum(report.n_entries for report in reports),
            n_missing=sum(report.n_missing for report in reports),
            n_changed=sum(report.n_changed for report in reports),
            n_extra=sum(report.n_extra for report in reports),
        )

    def _names(self, noun: Noun, stored: Callable[[], list[str]]) -> ReindexReport:
        # Before the files: a name that is written meanwhile is in both, or is read from the changes at the end.
        known = set(self._index.database.names(noun))
        names = stored()
        missing = [name for name in names if name not in known]
        extra = known.difference(names)
        self._index.database.put(NameEntry(noun=noun, name=name) for name in missing)
        self._index.database.remove([NameEntry(noun=noun, name=name) for name in extra])
        return ReindexReport(n_entries=len(names), n_missing=len(missing), n_changed=0, n_extra=len(extra))

    def _runs(self) -> ReindexReport:
        known = {run_id: (kind, status, event_id) for run_id, kind, status, event_id in self._index.database.runs()}
        n_entries = n_missing = n_changed = n_extra = 0
        for batch in _batches(filter(is_run_id, self._artifacts.names("runs"))):
            # Before the files, like ``known``.
            listed_tags = self._index.database.tags(batch)
            found = list(self._entries_of(batch))
            entries, tags = [entry for entry, _ in found], {tag for _, tags in found for tag in tags}
            wrong = [entry for entry in entries if not _is_same(entry, known.get(entry.run_id))]
            n_entries += len(entries)
            n_missing += sum(entry.run_id not in known for entry in wrong)
            n_changed += sum(entry.run_id in known for entry in wrong)
            # Removed first: an entry that is wrong may have a larger event id.
            self._index.database.remove([entry for entry in wrong if entry.run_id in known])
            self._index.database.put([*wrong, *tags.difference(listed_tags)])
            self._index.database.remove(list(listed_tags.difference(tags)))
            n_missing += len(tags.difference(listed_tags))
            n_extra += len(listed_tags.difference(tags))
            for entry in entries:
                known.pop(entry.run_id, None)
        # As deleted, so that their tags are removed too.
        n_extra += len(known)
        self._index.database.put(RunEntry(run_id=run_id, kind=DELETED, status=DELETED, event_id=0) for run_id in known)
        return ReindexReport(n_entries=n_entries, n_missing=n_missing, n_changed=n_changed, n_extra=n_extra)

    def _entries_of(self, run_ids: list[str]) -> Iterator[tuple[RunEntry, list[TagEntry]]]:
        for run_id, found in RunSummaries(self._artifacts).heads(run_ids):
            if isinstance(found, DamagedArtifact):
                # A restored file must count without another reindex.
                yield RunEntry(run_id=run_id, kind=UNKNOWN, status=UNKNOWN, event_id=0), []
            else:
                record, chunk = found
                state = chunk.state
                entry = RunEntry(run_id=run_id, kind=record.kind, status=state.status, event_id=chunk.first_id)
                yield entry, [TagEntry(run_id=run_id, tag=tag) for tag in state.tags]


def _is_same(entry: RunEntry, known: tuple[str, str, int] | None) -> bool:
    return known is not None and (entry.kind, entry.status) == known[:2]


def _batches(items: Iterable[str]) -> Iterator[list[str]]:
    remaining = iter(items)
    while batch := list(islice(remaining, _BATCH_SIZE)):
        yield batch
