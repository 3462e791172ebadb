"""Steps of tests of runs."""

from __future__ import annotations

from typing import Any

from service.store.runs.store import RunStore
from service.store.runs.writer import RunWriter


def told(runs: RunStore, run_id: str, **options: Any) -> list[tuple[int, str, Any]]:
    """Ids, types and the telling part of the data of events."""
    return [
        (event.id, event.type, event.data.get("status") or event.data.get("step") or event.data.get("text"))
        for event in runs.events(run_id, **options)
    ]


def begin(runs: RunStore) -> tuple[str, RunWriter]:
    """A new run's id, and its first attempt."""
    run_id = runs.create("tune", spec={}).id
    return run_id, runs.claim(run_id, worker="w")
