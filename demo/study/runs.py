"""Runs of a study on one store: started once, and continued by a later session."""

import contextlib
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from promptatlas import Client, Run, TimedOutError
from promptatlas.types import ModelCard
from rich.console import Console

from demo.study.plan import Size, StudyPlan
from demo.study.priors import Spec
from demo.tour.progress import seconds_of

WAIT_S: Final = 60.0


@dataclass(frozen=True)
class StudyRuns:
    """Starts and awaits the runs of a study. Runs that an earlier session started are continued."""

    client: Client
    console: Console

    def start(self, kind: Literal["tune", "map"], spec: Spec, *, name: str) -> Run:
        """The run of this kind with this name and spec: an earlier one, resumed if it has failed, or a new one."""
        label = f"{name} {digest(spec)}"
        for run in self.client.runs.list(kind=kind):
            if run.name == label:
                self.console.print(f"{label}: continued, {run.id}, {run.status}")
                return run.resume() if run.status in ("failed", "cancelled") else run
        return self.client.runs.create(kind, spec, name=label)

    def finished(self, run: Run) -> Run:
        """The run after it has succeeded."""
        while not run.ended:
            # A wait reconnects after lost connections. A new wait raises if the service has ended.
            with contextlib.suppress(TimedOutError):
                run.wait(timeout_s=WAIT_S, progress=False)
        run.wait(progress=False)
        run.refresh()
        self.console.print(f"{run.name}: {run.id} {run.status} after {seconds_of(run):.0f} s")
        return run

    def tune_all(self, plan: StudyPlan, *, size: Size, card: ModelCard) -> dict[str, list[str]]:
        """Start all tunings at once; returns the prompts of each."""
        started = [(one.name, self.start("tune", one.spec, name=one.name)) for one in plan.tunings(size, {}, card)]
        return {name: self.finished(run).prompts for name, run in started}

    def new_report(self, spec: Spec) -> Run:
        """The report with this spec: an interrupted one, or a new one.

        A report that has ended is not reused, because the code of the measures can have changed. Interrupted reports with
        other specs are cancelled: they would be executed first.
        """
        label = f"findings {digest(spec)}"
        interrupted = self._unfinished("report")
        for run in interrupted:
            if run.name != label:
                run.cancel()
        same = next((run for run in interrupted if run.name == label), None)
        return same or self.client.runs.create("report", spec, name=label)

    def cancel_unfinished(self, kind: Literal["tune", "map"]) -> None:
        """Cancel the runs of an earlier session that are left out now: they would be executed first."""
        for run in self._unfinished(kind):
            run.cancel()
            self.console.print(f"{run.name}: cancelled, {run.id}")

    def _unfinished(self, kind: Literal["tune", "map", "report"]) -> list[Run]:
        return [run for run in self.client.runs.list(kind=kind) if not run.ended]


def digest(spec: Spec) -> str:
    """Eight hexadecimal digits that tell specs apart."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:8]


def all_prompts(by_run: dict[str, list[str]] | dict[str, Sequence[str]]) -> list[str]:
    """References of all prompts, in the order of the runs."""
    return [ref for refs in by_run.values() for ref in refs]
