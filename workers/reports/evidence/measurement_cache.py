"""Measurements that take long are made once: what an earlier attempt at the run has measured is taken from its checkpoint."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from workers.reports.evidence.prompt_history import plain
from workers.running.interface import RunContext, RunStopped

MEASURED = "measured.json"
"""The one file of a report's checkpoint."""

SAVE_EVERY_S = 20.0

Rows = list[dict[str, Any]]
Once = Callable[[str, Callable[[], Rows]], Rows]
"""The rows of the measurement with a key: made by the function, unless they were before."""


class MeasurementCache:
    """An :data:`Once` on a run, with progress and checkpoints.

    Args:
        evidence_of: what the evidence was made from; measurements of other evidence are dropped.
        begin, total: steps of the run's progress that are done before the first measurement, and in all.
    """

    def __init__(
        self,
        run: RunContext,
        *,
        evidence_of: Mapping[str, Any],
        begin: int,
        total: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run = run
        self._evidence_of = plain(evidence_of)
        self._begin, self._total = begin, total
        self._clock = clock
        self._rows: dict[str, Rows] = self._kept()
        self._n_done = 0
        self._saved_at_s = clock()
        self._n_saved = len(self._rows)

    def once(self, key: str, make: Callable[[], Rows]) -> Rows:
        """The rows of one measurement, in plain numbers.

        Raises:
            RunStopped: after what there is has been saved.
        """
        try:
            self._run.check()
        except RunStopped:
            self._save()
            raise
        if key not in self._rows:
            self._rows[key] = plain(make())
        self._n_done += 1
        self._run.progress(min(self._begin + self._n_done, self._total), self._total)
        if self._clock() - self._saved_at_s >= SAVE_EVERY_S:
            self._save()
        return self._rows[key]

    def _save(self) -> None:
        if len(self._rows) > self._n_saved:
            content = {"of": self._evidence_of, "rows": self._rows}
            self._run.save_checkpoint({MEASURED: json.dumps(content, allow_nan=False).encode()})
            self._n_saved = len(self._rows)
        self._saved_at_s = self._clock()

    def _kept(self) -> dict[str, Rows]:
        files = self._run.load_checkpoint()
        if files is None:
            return {}
        kept = json.loads(files[MEASURED])
        found: dict[str, Rows] = kept["rows"] if kept["of"] == self._evidence_of else {}
        return found
