"""Lists of runs, newest first, with filters and cursors."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from promptatlas.types.runs import RunStatus

from service.errors import InvalidRequest
from service.store.artifacts.store import ArtifactStore
from service.store.index.index import StoreIndex
from service.store.index.lists import from_index_or_files
from service.store.listing import Page, check_limit
from service.store.runs.ids import is_run_id
from service.store.runs.summaries import Row, RunSummaries


class RunListing:
    """Lists the runs of an artifact store; stateless. index: None lists the files."""

    def __init__(self, artifacts: ArtifactStore, *, index: StoreIndex | None) -> None:
        self._artifacts = artifacts
        self._rows = RunSummaries(artifacts)
        self._index = index

    def page(
        self, *, kind: str | None, status: RunStatus | None, tag: str | None, limit: int, after: str | None
    ) -> Page[Row]:
        """Runs older than the cursor ``after``, newest first. Damaged ones are logged and skipped."""
        check_limit(limit)
        if after is not None and not is_run_id(after):
            raise InvalidRequest(f"The cursor of a list of runs is a run id; got {after[:80]!r}.", loc=("after",))

        def take(run_ids: Iterable[str]) -> list[Row]:
            rows = (
                (record, state)
                for record, state in self._rows.rows(run_ids)
                if kind in (None, record.kind) and status in (None, state.status) and (tag is None or tag in state.tags)
            )
            return list(islice(rows, limit + 1))

        found = from_index_or_files(
            take,
            index=self._index,
            candidates=lambda index: index.run_ids(kind=kind, status=status, tag=tag, before=after),
            files=lambda: reversed([n for n in self._artifacts.names("runs") if after is None or n < after]),
        )
        has_more = len(found) > limit
        return Page(items=found[:limit], has_more=has_more, next=found[limit - 1][0].id if has_more else None)
