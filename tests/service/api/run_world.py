"""What tests of runs share: a queue in memory, and an application that has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from service.errors import Unavailable
from service.queueing.queue import RunQueue
from service.store.datasets.store import DatasetStore
from service.store.runs.store import RunStore
from service.store.runs.writer import RunWriter
from tests.service.api.conftest import World
from tests.service.planning.planning_world import FakeDatasets, dataset

TUNE: dict[str, Any] = {
    "model": "demo",
    "dataset": "qa",
    "method": {"kind": "soft", "n_virtual": 4},
    "priors": [{"kind": "xavier"}],
}
BODY: dict[str, Any] = {"kind": "tune", "spec": TUNE}


class MemoryQueue:
    """Runs in line, first come first served; may be out of reach."""

    def __init__(self) -> None:
        self.line: list[tuple[str, int]] = []
        self.is_away = False
        self.ended_in_line: list[tuple[str, str]] = []

    @property
    def tallies(self) -> MemoryQueue:
        return self

    def end_waiting_run(self, *, kind: str, status: str) -> None:
        self.ended_in_line.append((kind, status))

    def enqueue(self, run_id: str, attempt: int) -> None:
        self._reach()
        self.line.append((run_id, attempt))

    def positions(self) -> Mapping[str, int]:
        self._reach()
        return {run_id: place for place, (run_id, _) in enumerate(self.line)}

    def discard(self, run_id: str) -> None:
        self._reach()
        self.line = [entry for entry in self.line if entry[0] != run_id]

    def _reach(self) -> None:
        if self.is_away:
            raise Unavailable("The queue of runs cannot be reached.")


def with_queue(world: World) -> MemoryQueue:
    """Give an application a queue, and the datasets ``qa`` and ``text``."""
    queue = MemoryQueue()
    datasets = cast(DatasetStore, FakeDatasets(dataset("qa"), dataset("text", template=None)))
    world.services = replace(world.services, queue=cast(RunQueue, queue), datasets=datasets)
    world.client.app.state.services = world.services  # type: ignore[attr-defined]
    return queue


def start(world: World, **changes: Any) -> str:
    """Start a run; its id."""
    answer = world.client.post("/v1/runs", json={**BODY, **changes})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def work_on(world: World, run_id: str) -> RunWriter:
    """Begin the next attempt at a run, as a worker does."""
    runs: RunStore = world.services.runs
    return runs.claim(run_id, worker="w1")
