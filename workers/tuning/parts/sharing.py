"""Training of all parts by the worker that has the run, with the help of idle workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from service.errors import Unavailable
from service.store.runs.records import Output
from workers.running.interface import SharedRunContext
from workers.running.shards.sharing import SharedShards
from workers.tuning.context import TuningContext
from workers.tuning.initialization import Initialization
from workers.tuning.parts.joining import join_parts
from workers.tuning.parts.plan import PartsPlan
from workers.tuning.parts.store import PartStore
from workers.tuning.parts.training import MESSAGES, PartReport, PartWriter
from workers.tuning.results.curves import OnPoint
from workers.tuning.training_loop import CURVES, Training

LOOK_INTERVAL_S = 1.0
"""Interval at which the worker of the run looks, during its own steps, for what helpers have done."""


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What the run has of a part: its steps, points and messages."""

    step: int = 0
    n_points: int = 0
    n_messages: int = 0


class DividedTraining:
    """The training of a run in parts.

    Args:
        training: of all members, before the first step.
        on_point: takes the points of the curves of all parts.
        on_progress: takes the sum of the steps of all parts.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        run: SharedRunContext,
        *,
        context: TuningContext,
        initialization: Initialization,
        plan: PartsPlan,
        training: Training,
        on_point: OnPoint,
        on_progress: Callable[[int], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._run = run
        self._plan = plan
        self._training = training
        self._on_point = on_point
        self._on_progress = on_progress
        self._clock = clock
        self._looked_at_s = self._read_at_s = clock()
        self._own: int | None = None
        self._known = {number: _Known() for number in range(plan.n_parts)}
        self._n_seen = dict.fromkeys(range(plan.n_parts), 0)
        self._finished: set[int] = set()
        self._store = PartStore(run.artifacts, run_id=run.run_id)
        self._store.save_start(initialization.files())
        self._shards = SharedShards(run, numbers=range(plan.n_parts), store=self._store, on_progress=self._report)
        self._writer = PartWriter(
            run,
            context=context,
            initialization=initialization,
            plan=plan,
            store=self._store,
            on_step=self._before_step,
            alike=training,
            attempt=run.attempt,
        )

    @property
    def n_by_helpers(self) -> int:
        """Number of parts that helpers have finished during this attempt."""
        return self._shards.n_by_helpers

    def complete(self) -> dict[str, bytes]:
        """The files of the training of all members, when all parts are trained."""
        self._shards.complete(self._writer.write)
        parts = [self._store.result(number) for number in range(self._plan.n_parts)]
        return join_parts(parts, first_points=self._training.files())

    def clear(self) -> None:
        """Remove the stored parts, after the training of all members was saved."""
        self._store.remove(range(self._plan.n_parts))

    def _before_step(self, number: int, report: PartReport) -> None:
        self._run.check()
        self._own = number
        self._publish(number, report)
        now_s = self._clock()
        if now_s - self._looked_at_s >= LOOK_INTERVAL_S:
            self._looked_at_s = now_s
            with suppress(Unavailable):
                self._shards.look_around()

    def _report(self, found: Mapping[int, Output]) -> None:
        """Publish the results that are new, and what the checkpoints of helpers have."""
        for number in sorted(found.keys() - self._finished):
            self._finished.add(number)
            report = PartReport.load(self._store.result(number, names=(CURVES, MESSAGES)))
            # All members may have stopped before the last step.
            report.step = self._training.settings.steps
            self._publish(number, report)
        now_s = self._clock()
        if now_s - self._read_at_s >= LOOK_INTERVAL_S:
            self._read_at_s = now_s
            self._report_helpers()

    def _report_helpers(self) -> None:
        missing = [str(number) for number in self._shards.missing if number != self._own]
        unleased = set(self._run.coordinator.unleased(missing))
        for number in (int(part) for part in missing if part not in unleased):
            newest = self._store.load_some(number, (CURVES, MESSAGES), after=self._n_seen[number])
            if newest is not None:
                self._n_seen[number], files = newest
                self._publish(number, PartReport.load(files))

    def _publish(self, number: int, report: PartReport) -> None:
        """Report the points and messages of a part that are new, and the progress of all parts."""
        known = self._known[number]
        for point in report.points[known.n_points :]:
            self._on_point(point)
        for text, level in report.messages[known.n_messages :]:
            self._run.log(text, level=level)
        # Never fewer: another worker that goes on from a checkpoint reports the same again.
        self._known[number] = _Known(
            step=max(known.step, report.step),
            n_points=max(known.n_points, len(report.points)),
            n_messages=max(known.n_messages, len(report.messages)),
        )
        self._on_progress(sum(part.step for part in self._known.values()))
