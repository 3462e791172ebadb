"""The performance of the experiment: its runs on the service, some at a time, within a time limit."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from promptatlas import Client, Run
from rich.console import Console

from demo.distillation import jobs
from demo.distillation.answers import CountTokens, read_answers
from demo.distillation.data import upload
from demo.distillation.jobs import Job
from demo.distillation.map import read_map
from demo.distillation.probes import measure_probes
from demo.distillation.record import Done, Record
from demo.distillation.size import MethodName
from demo.distillation.snapshots import evaluate_snapshots
from demo.study.runs import digest
from demo.study.schedule import clock
from demo.tour.progress import seconds_of

EVERY_S: Final = 30.0
"""Between two lines of progress."""
POLL_S: Final = 0.5
N_AT_ONCE: Final = 2
"""Runs at a time: one for each worker."""

Save = Callable[[Record], None]


@dataclass
class Experiment:
    """An experiment that is performed on a running service.

    minutes: time limit of this and earlier performances together; runs that are predicted to end later are left out.
    finish: start no further trainings; report on those that have ended.

    Attributes:
        record: what was measured so far. It is saved after every run.
    """

    client: Client
    console: Console
    record: Record
    count: CountTokens
    save: Save
    minutes: float
    finish: bool = False
    poll_s: float = POLL_S
    _ahead: list[Job] = field(default_factory=list)

    def perform(self) -> None:
        """Perform all runs, probes and the map."""
        size = self.record.size
        upload(self.client, size=size)
        self._keep(replace(self.record, revision=self.client.models.get(jobs.MODEL).revision))
        self._all([*jobs.trace_jobs(), *jobs.context_jobs()])
        # With a time limit, the last runs are left out: those of further kinds of prompts.
        self._train("soft")
        for method in size.methods:
            if method != "soft":
                self._train(method)
        self._rest()

    def _train(self, method: MethodName) -> None:
        """Perform the pilot, the sources and the students of a method; with soft prompts, also baselines and capacity."""
        size = self.record.size
        self._all(_of(method, jobs.pilot_jobs(size)))
        self._choose_rates()
        rates = self.record.rates
        if method not in rates:
            return
        self._ahead = list(_of(method, jobs.student_jobs(size, rates=rates, prompts={})))
        self._all(_of(method, jobs.source_jobs(size, rates=rates)))
        self._ahead = []
        students = _of(method, jobs.student_jobs(size, rates=rates, prompts=self.record.prompts))
        further = (
            [*jobs.baseline_jobs(size, rates=rates), *jobs.capacity_jobs(size, rates=rates)] if method == "soft" else []
        )
        self._all([*students, *further])

    def _rest(self) -> None:
        answers = evaluate_snapshots(self.client, record=self.record, count=self.count, finish=self._finish)
        kept = [one for one in self.record.answers if one.stage != "during"]
        self._keep(replace(self.record, answers=[*kept, *answers]))
        self._keep(replace(self.record, probes=measure_probes(self.client, record=self.record)))
        self._keep(replace(self.record, spread=read_map(self.client, record=self.record, finish=self._finish)))

    def _all(self, planned: Sequence[Job]) -> None:
        """Perform runs, at most ``N_AT_ONCE`` at a time. Runs that have ended before are not repeated."""
        waiting = [job for job in planned if job.name not in self.record.runs]
        running: list[tuple[Job, Run]] = []
        shown_s = time.monotonic()
        while waiting or running:
            while waiting and len(running) < N_AT_ONCE:
                job = waiting.pop(0)
                if self._fits(job):
                    running.append((job, self._start(job)))
                else:
                    self.console.print(f"{job.name}: left out")
                    left_out = list(dict.fromkeys([*self.record.left_out, job.name]))
                    self._keep(replace(self.record, left_out=left_out))
            for job, run in list(running):
                if run.refresh().ended:
                    running.remove((job, run))
                    self._read(job, run)
            if time.monotonic() - shown_s >= EVERY_S and running:
                shown_s = time.monotonic()
                self._show(running, waiting=waiting)
            time.sleep(self.poll_s if running else 0.0)

    def _start(self, job: Job) -> Run:
        """The run of a job: an earlier one with the same spec, resumed if it has failed, or a new one."""
        label = f"{job.name} {digest(job.spec)}"
        for run in self.client.runs.list(kind=job.kind):
            if run.name == label:
                self.console.print(f"{label}: continued, {run.id}, {run.status}")
                return run.resume() if run.status in ("failed", "cancelled") else run
        return self.client.runs.create(job.kind, job.spec, name=label)

    def _read(self, job: Job, run: Run) -> None:
        run.wait(progress=False)
        done = Done(run_id=run.id, seconds=seconds_of(run), cost=job.cost, prompts=list(run.prompts))
        has_rows = job.kind != "generate" and job.facts["group"] != "pilot"
        answers = read_answers(run, job=job, count=self.count) if has_rows else []
        self._keep(self.record.with_run(job.name, done, answers=answers))
        if job.facts["group"] == "pilot":
            rows = json.loads(run.read("members.json"))
            losses = {f"{row['lr']:g}": row["metrics"]["validation/loss"] for row in rows}
            self._keep(replace(self.record, searched={**self.record.searched, job.facts["method"]: losses}))
        self.console.print(f"{job.name}: {done.seconds:.0f} s", highlight=False)

    def _finish(self, run: Run) -> Run:
        run.wait(progress=False)
        return run.refresh()

    def _choose_rates(self) -> None:
        """The rate with the lowest validation loss of each pilot."""
        rates = {
            method: float(min(losses, key=lambda rate: losses[rate])) for method, losses in self.record.searched.items()
        }
        self._keep(replace(self.record, rates=rates))

    def _fits(self, job: Job) -> bool:
        return not self.finish and self._spent_s + self._predicted_s([job]) <= 60 * self.minutes

    @property
    def _spent_s(self) -> float:
        return sum(done.seconds for done in self.record.runs.values()) / N_AT_ONCE

    def _predicted_s(self, planned: Sequence[Job]) -> float:
        """Predicted seconds of runs, of which ``N_AT_ONCE`` run at a time, by the measured speed of those that have ended."""
        known = [done for name, done in self.record.runs.items() if done.cost > 1]
        cost = sum(done.cost for done in known)
        speed = sum(done.seconds for done in known) / cost if cost else 0.0
        return speed * sum(job.cost for job in planned) / N_AT_ONCE

    def _show(self, running: Sequence[tuple[Job, Run]], *, waiting: Sequence[Job]) -> None:
        for job, run in running:
            of = f" of {run.progress.total}" if run.progress.total else ""
            self.console.print(f"  {job.name}: step {run.progress.step}{of}", highlight=False)
        left_s = self._predicted_s([*(job for job, _ in running), *waiting, *self._ahead])
        self.console.print(f"  about {clock(left_s)} left", highlight=False)

    def _keep(self, record: Record) -> None:
        self.record = record
        self.save(record)


def _of(method: MethodName, planned: Sequence[Job]) -> list[Job]:
    return [job for job in planned if job.facts["method"] == method]
