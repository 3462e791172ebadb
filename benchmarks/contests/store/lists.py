"""Pages of long lists with an index in SQLite: prompts by name, and runs of one status.

The index has a row for every prompt and run. Files exist for the objects of the pages that are read, and are what a store has for
them; making all files of a million prompts takes longer than the measurement is worth, and a page does not read the others.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.measuring.contest import Agreement, Contest, Goal, Metrics, Side
from service.store.artifacts.store import ArtifactStore
from service.store.index.dialects import SQLite
from service.store.index.entries import NameEntry, RunEntry
from service.store.index.index import StoreIndex
from service.store.prompts.checks import BaseShape
from service.store.prompts.native_format import make_prompt
from service.store.prompts.store import PromptStore
from service.store.runs.ids import RunIds
from service.store.runs.store import RunStore

INDEX, FILES = "index", "files"
_BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)
_LIMIT = 20
_ONE_IN = 10
"""One run in so many has failed, the others have succeeded."""

_MARGIN = 60
"""Objects with files for each page: more than a page, because files of runs are read in batches of 50."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """Numbers of prompts and runs in the index, and of pages of each list that are read."""

    n_prompts: int
    n_runs: int
    n_pages: int


FULL = Size(n_prompts=1_000_000, n_runs=100_000, n_pages=20)
QUICK = Size(n_prompts=2_000, n_runs=2_000, n_pages=3)


@dataclass(frozen=True, kw_only=True)
class PagesRead:
    """Names and ids of the pages, and the seconds of each page."""

    names: Sequence[Sequence[str]]
    run_ids: Sequence[Sequence[str]]
    prompts_s: Sequence[float]
    runs_s: Sequence[float]

    def metrics(self) -> Metrics:
        return {
            "prompts_page_ms": 1000 * median(self.prompts_s),
            "prompts_worst_ms": 1000 * max(self.prompts_s),
            "runs_page_ms": 1000 * median(self.runs_s),
            "runs_worst_ms": 1000 * max(self.runs_s),
        }


class LongLists:
    """A store with an index of a given size, and the pages that have files.

    starts: positions of the first names. names, run_ids: objects that have files, one list for each page; runs newest first.
    """

    def __init__(self, folder: Path, size: Size) -> None:
        self._now = _BEGIN
        artifacts = ArtifactStore(str(folder / "store"))
        self._index = StoreIndex(artifacts, dialect=SQLite(folder / "index.sqlite3"), address=str(folder / "store"))
        self._prompts = PromptStore(artifacts, index=self._index)
        self._runs = RunStore(artifacts, index=self._index, clock=lambda: self._now)
        self._prompts_in_files, self._runs_in_files = PromptStore(artifacts), RunStore(artifacts)
        self._size = size
        began = datetime.now(timezone.utc)
        epoch = self._index.begin_build()
        self.starts = [k * size.n_prompts // size.n_pages for k in range(size.n_pages)]
        self.names = [self._make_prompts(start) for start in self.starts]
        self.run_ids = self._make_runs()
        self._index.database.put(NameEntry(noun="prompt", name=_name(i)) for i in range(size.n_prompts))
        self._index.end_build(epoch, began=began)

    def read(self, side: str) -> PagesRead:
        """Read all pages."""
        is_indexed = side == INDEX
        list_names = (self._prompts if is_indexed else self._prompts_in_files).list_names
        list_runs = (self._runs if is_indexed else self._runs_in_files).list_runs
        prompts = [
            _timed(partial(list_names, limit=_LIMIT, after=_name(start - 1) if start else None))
            for start in self.starts
        ]
        runs = [_timed(partial(list_runs, status="failed", limit=_LIMIT, after=ids[0])) for ids in self.run_ids]
        return PagesRead(
            names=[[row.name for row in page.items] for page, _ in prompts],
            run_ids=[[record.id for record, _ in page.items] for page, _ in runs],
            prompts_s=[seconds for _, seconds in prompts],
            runs_s=[seconds for _, seconds in runs],
        )

    def is_right(self, found: PagesRead) -> bool:
        """Whether the pages are those that were made."""
        return [list(page) for page in found.names] == [names[:_LIMIT] for names in self.names] and [
            list(page) for page in found.run_ids
        ] == [ids[1 : _LIMIT + 1] for ids in self.run_ids]

    def close(self) -> None:
        self._index.database.close()

    def _make_prompts(self, start: int) -> list[str]:
        base = BaseShape(name="tiny", revision="r", n_layers=1, d_model=4, n_kv_heads=1, d_head=4, n_positions=64)
        names = [_name(start + i) for i in range(_MARGIN)]
        for name in names:
            vectors = np.ones((2, 4), dtype=np.float32)
            self._prompts.create(name, prompt=make_prompt("soft", tensors={"soft": vectors}, base=base))
        return names

    def _make_runs(self) -> list[list[str]]:
        """Rows of all runs; ids of those with files, newest first, one list for each page."""
        ids, step = RunIds(), timedelta(milliseconds=10)
        per_page = self._size.n_runs // self._size.n_pages
        pages: list[list[str]] = []
        entries: list[RunEntry] = []
        for _ in range(self._size.n_pages):
            made: list[str] = []
            for i in range(per_page):
                self._now += step
                is_failed = i % _ONE_IN == 0
                if is_failed and i < _MARGIN * _ONE_IN:
                    run_id = self._runs.create("tune", spec={}).id
                    self._runs.claim(run_id, worker="benchmark").finish("failed", error="made")
                    made.append(run_id)
                else:
                    run_id = ids.new(self._now)
                status = "failed" if is_failed else "succeeded"
                entries.append(RunEntry(run_id=run_id, kind="tune", status=status, event_id=9))
            pages.append(made[::-1])
        self._index.database.put(entries)
        return pages


@contextlib.contextmanager
def open_contest(size: Size, *, http: bool) -> Iterator[Contest]:
    """Both sides; ``http`` has no effect."""
    with TemporaryDirectory() as folder:
        lists = LongLists(Path(folder), size)
        with contextlib.closing(lists):
            yield Contest(
                name="lists",
                work=(
                    f"Pages of {_LIMIT} of {size.n_prompts:,} prompts, and of {size.n_runs:,} runs, one in {_ONE_IN} has "
                    f"the status; the index has all rows, and the {size.n_pages} pages of each list have files."
                ),
                sides=[
                    Side(name=name, run=partial(lists.read, name), metrics=PagesRead.metrics) for name in (INDEX, FILES)
                ],
                goals=[
                    Goal(
                        label="page of prompts",
                        at_most=50,
                        unit="ms",
                        value=lambda turn: turn[INDEX]["prompts_page_ms"],
                    ),
                    Goal(label="page of runs", at_most=50, unit="ms", value=lambda turn: turn[INDEX]["runs_page_ms"]),
                ],
                compare=lambda answers: [
                    Agreement(label=name, holds=lists.is_right(answers[name]), detail="names and ids as made")
                    for name in (INDEX, FILES)
                ],
                notes=["The files are those of the pages only, so that the side without an index lists a small store."],
            )


def _name(place: int) -> str:
    return f"p{place:07d}"


def _timed(read: Callable[[], Any]) -> tuple[Any, float]:
    begin = time.perf_counter()
    page = read()
    return page, time.perf_counter() - begin
