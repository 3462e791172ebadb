"""Training of parts on one worker, each from its last checkpoint, coordinated with other workers by leases."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from service.store.runs.records import Output
from workers.running.interface import RunStopped, WorkContext
from workers.running.shards.sharing import Before, Done, write_leased
from workers.tuning.context import TuningContext
from workers.tuning.initialization import Initialization
from workers.tuning.parts.plan import PartsPlan
from workers.tuning.parts.store import PartStore
from workers.tuning.results.curves import Point
from workers.tuning.training_loop import CURVES, Training

MESSAGES = "messages.json"
"""File of a part with its number of steps, and its messages for the owner of the run."""


@dataclass(kw_only=True)
class PartReport:
    """What the training of a part has reported so far. messages: text and level of each."""

    step: int = 0
    points: list[Point] = field(default_factory=list)
    messages: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> PartReport:
        """The report in the files of a part."""
        said = json.loads(files[MESSAGES])
        return cls(
            step=said["step"],
            points=[Point(**fields) for fields in json.loads(files[CURVES])["points"]],
            messages=[(text, level) for text, level in said["messages"]],
        )

    def to_bytes(self) -> bytes:
        """The content of :data:`MESSAGES`."""
        return json.dumps({"step": self.step, "messages": self.messages}).encode()


OnStep = Callable[[int, PartReport], None]
"""Called with the number of a part and its report before each step; raises RunStopped to stop."""


class PartWriter:
    """Trains parts and stores their results.

    Args:
        place: the run, or the context of a helper.
        context: spec, model and data.
        alike: a training of the same run, whose examples and cached states are used; None: the first part's.
        attempt: of the run; 0 for a helper.
        on_step: called before each step. on_save: called after each checkpoint.
    """

    def __init__(
        self,
        place: WorkContext,
        *,
        context: TuningContext,
        initialization: Initialization,
        plan: PartsPlan,
        store: PartStore,
        on_step: OnStep,
        on_save: Callable[[], None] = lambda: None,
        alike: Training | None = None,
        attempt: int = 0,
    ) -> None:
        self._place = place
        self._context = context
        self._initialization = initialization
        self._plan = plan
        self._store = store
        self._on_step = on_step
        self._on_save = on_save
        self._alike = alike
        self._attempt = attempt
        plan.set_threads()

    def write(self, wanted: Collection[int], *, before: Before, done: Done) -> None:
        """Train those of the wanted parts that no other worker has leased, in order.

        Args:
            before: called before each part; False ends the loop.
            done: called after each part that this worker has trained.
        """
        write_leased(wanted, place=self._place, store=self._store, compute=self._train, before=before, done=done)

    def _train(self, number: int) -> Output:
        report = PartReport()
        training = self._open(number, report)
        saved_at = training.step_number
        try:
            while not training.finished:
                self._on_step(number, report)
                training.step()
                report.step = training.step_number
                if report.step % self._context.spec.checkpoint_every == 0 and not training.finished:
                    self._save(number, training, report)
                    saved_at = report.step
                    self._on_save()
        except RunStopped:
            if training.step_number > saved_at:
                self._save(number, training, report)
            raise
        return self._store.put(number, {**training.files(), MESSAGES: report.to_bytes()})

    def _open(self, number: int, report: PartReport) -> Training:
        """The training of a part as it was saved last, with its report."""
        training = Training(
            self._context,
            self._initialization,
            on_point=report.points.append,
            clock=time.time,
            on_log=lambda text, level: report.messages.append((text, level)),
            chosen=self._plan.parts[number],
            alike=self._alike,
        )
        self._alike = self._alike or training
        files = self._store.load(number)
        if files is not None:
            training.load({name: data for name, data in files.items() if name != MESSAGES})
            found = PartReport.load(files)
            report.step, report.messages = found.step, found.messages
            report.points[:] = found.points
        return training

    def _save(self, number: int, training: Training, report: PartReport) -> None:
        self._store.save(number, {**training.files(), MESSAGES: report.to_bytes()}, attempt=self._attempt)
