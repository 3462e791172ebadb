"""Cache of slow measurements in the run's checkpoint, so that a resumed run does not repeat them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from workers.running.interface import RunContext, RunStopped

MEASURED = "measured.json"
"""The only file of a report's checkpoint."""

SAVE_EVERY_S = 20.0

Rows = list[dict[str, Any]]
Cached = Callable[[str, Callable[[], Rows]], Rows]
"""Returns the rows of a measurement by key; calls the function if they are not cached."""


class MeasurementCache:
    """Measurements of a run, with progress and checkpoints.

    Args:
        evidence_of: Versions of model and datasets; cached measurements of other versions are dropped.
        begin, total: Progress steps before the first measurement, and in total.
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
        self._rows: dict[str, Rows] = self._load()
        self._n_done = 0
        self._saved_at_s = clock()
        self._n_saved = len(self._rows)

    def cached(self, key: str, compute: Callable[[], Rows]) -> Rows:
        """Rows of one measurement as JSON values; ``compute`` is called if they are not cached.

        Raises:
            RunStopped: The run is to stop; all rows have been saved.
        """
        try:
            self._run.check()
        except RunStopped:
            self._save()
            raise
        if key not in self._rows:
            self._rows[key] = plain(compute())
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

    def _load(self) -> dict[str, Rows]:
        files = self._run.load_checkpoint()
        if files is None:
            return {}
        kept = json.loads(files[MEASURED])
        found: dict[str, Rows] = kept["rows"] if kept["of"] == self._evidence_of else {}
        return found


def plain(value: Any) -> Any:
    """``value`` as JSON values: NumPy numbers as Python numbers, non-finite numbers as null."""
    return json.loads(json.dumps(_finite(value), default=lambda number: _finite(number.item())))


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value
