from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Sequence
from typing import cast

import pytest

from service.errors import Unavailable
from service.queueing.intervals import Intervals
from service.queueing.monitor import QueueMonitor, QueueNumbers
from service.queueing.queue import RunCounts, RunQueue, WorkerPresence
from service.queueing.reconciler import Reconciler
from service.queueing.tallies import Series

COUNT = RunCounts(n_queued=3, n_running=1)
TALLIED = {"tuning_steps": [Series(labels=(), value=3.0)]}


class ScriptedReconciler:
    """Returns answers from a list, the last one repeatedly; exceptions are raised."""

    def __init__(self, answers: Sequence[RunCounts | Exception | None], *, stop: threading.Event | None = None) -> None:
        self.answers = list(answers)
        self.n_calls = 0
        self._stop = stop

    def reconcile(self) -> RunCounts | None:
        self.n_calls += 1
        if self._stop is not None and self.n_calls == 3:
            self._stop.set()
        answer = self.answers[min(self.n_calls, len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer


class CountedQueue:
    timing = Intervals(reconcile_s=0.001)

    def counts(self) -> RunCounts:
        return RunCounts(n_queued=7, n_running=7)

    def workers(self) -> list[WorkerPresence]:
        return [WorkerPresence(name=name, hostname="h", busy=name == "one") for name in ("one", "two")]

    def age_s(self) -> float:
        return 2.5

    @property
    def tallies(self) -> CountedQueue:
        return self

    def read(self) -> dict[str, list[Series]]:
        return TALLIED


def watch_of(reconciler: ScriptedReconciler) -> QueueMonitor:
    return QueueMonitor(cast(RunQueue, CountedQueue()), cast(Reconciler, reconciler))


def test_numbers_are_those_of_the_last_check_by_any_process() -> None:
    watch = watch_of(ScriptedReconciler([COUNT, None, Unavailable("gone"), COUNT]))
    seen = [watch.numbers]
    for _ in range(4):
        watch.check()
        seen.append(watch.numbers)
    mine, others = (
        QueueNumbers(counts=COUNT, n_workers=2, n_busy=1, queue_age_s=2.5, tallies=TALLIED),
        QueueNumbers(
            counts=RunCounts(n_queued=7, n_running=7), n_workers=2, n_busy=1, queue_age_s=2.5, tallies=TALLIED
        ),
    )
    assert seen == [None, mine, others, None, mine]


def test_no_error_ends_the_monitor() -> None:
    stop = threading.Event()
    reconciler = ScriptedReconciler([Unavailable("gone"), RuntimeError("a bug"), COUNT], stop=stop)
    watch_of(reconciler).run(stop)
    assert reconciler.n_calls == 3


@pytest.mark.parametrize("broken", [Unavailable("gone"), RuntimeError("a bug")])
def test_in_an_event_loop_it_runs_until_cancelled(broken: Exception) -> None:
    reconciler = ScriptedReconciler([broken, COUNT])

    async def run() -> None:
        task = asyncio.ensure_future(watch_of(reconciler).run_forever())
        while reconciler.n_calls < 3:
            await asyncio.sleep(0.001)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert reconciler.n_calls >= 3
