"""The performance of a study within a time limit: calibration, pilots, tunings, report and maps, one run after the other."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

from promptatlas import Run
from promptatlas.types import ModelCard, Report

from demo.study.budget import CostModel, all_tunings, sized, with_steps
from demo.study.calibration import calibrations, fixed_s, lengths_of, seconds_per_step, token_s
from demo.study.plan import Kind, Pilot, Size, StudyPlan, Tuning
from demo.study.priors import Spec
from demo.study.record import Done, Record
from demo.study.runs import StudyRuns
from demo.study.schedule import Step, clock, correction, follow
from demo.study.scores import read_scores

UNKNOWN: Final[Mapping[Kind, float]] = {"soft": 2e-2, "deep": 2e-2}
"""Rates before the pilots have chosen. They differ from all fixed rates of the plans, so that all runs are counted."""

PILOT_SHARE: Final = 0.1
"""Of the time limit, which another run of a pilot may take if the number of steps is given."""


class TimedStudy:
    """A study whose runs are performed one after the other.

    Args:
        size: None: the largest that fits into ``minutes``; otherwise this one, whatever time it takes.
        steps: None: as many as fit; otherwise this number for all runs, and the runs that do not fit are left out.
        finish: start no further tunings; report on those that have ended.
        output: folder for the report. save: called with the record after each run.

    Attributes:
        record: what was decided and measured so far.
    """

    def __init__(
        self,
        runs: StudyRuns,
        *,
        plan: StudyPlan,
        card: ModelCard,
        record: Record,
        size: Size | None,
        steps: int | None = None,
        minutes: float,
        finish: bool,
        output: Path,
        save: Callable[[Record], None],
    ) -> None:
        self._runs = runs
        self._plan = plan
        self._card = card
        self._size = size
        self._steps = steps
        self._minutes = minutes
        self._finish = finish
        self._output = output
        self._save = save
        self._rest: list[Step] = []
        self.record = record

    def perform(self) -> Report:
        """Perform all runs; returns the report."""
        costs = self._costs()
        self._choose_size(costs)
        self._announce(costs)
        tunings = self._pilots(costs)
        self._tune(tunings, costs=costs)
        kept = [one for one in tunings if one.in_report and one.name in self.record.runs]
        prompts = {one.name: self.record.runs[one.name].prompts for one in kept}
        self._keep(replace(self.record, scores=tuple(row for one in kept for row in self._scores(one.name))))
        # Maps first: their runs are kept, and the report is created again by a later session.
        for job in self._plan.maps(self.record.size, self._card, prompts):
            self._one("map", job.spec, name=job.name)
        refs = [ref for found in prompts.values() for ref in found]
        run = self._one(
            "report", self._plan.report_spec(prompts=refs, size=self.record.size, card=self._card), name="report"
        )
        run.download_all(to=self._output)
        return run.report().info

    def _scores(self, name: str) -> list[dict[str, Any]]:
        run = self._runs.client.runs.get(self.record.runs[name].run_id)
        return read_scores(name, run.read("members.json"))

    def _costs(self) -> CostModel:
        """The cost model, with the time of a token that this or an earlier session measured."""
        client, plan, size = self._runs.client, self._plan, self._size or self._plan.full
        counted = self._counted(size)
        datasets = sorted({one.spec["dataset"] for one in counted})
        lengths = {name: lengths_of(client, model=plan.model, dataset=name) for name in datasets}
        shortest = min(lengths, key=lambda name: lengths[name].total)
        if self.record.token_s is None:
            short, long = calibrations(plan, size=size, dataset=shortest)
            for one in (short, long):
                self._one("tune", one.spec, name=one.name)
            step_s = seconds_per_step(*(self.record.runs[one.name].seconds for one in (short, long)))
            self._keep(replace(self.record, token_s=token_s(step_s, one=long, lengths=lengths[shortest])))
        n_prompts = sum(one.n_members for one in counted if one.in_report)
        maps = plan.maps(size, self._card, {})
        return CostModel(
            token_s=self.record.token_s or math.nan,
            lengths=lengths,
            n_layers=self._card.n_layers,
            n_validation=size.n_validation,
            fixed_s=fixed_s(plan, card=self._card, n_prompts=n_prompts, maps=maps),
        )

    def _choose_size(self, costs: CostModel) -> None:
        """Choose the size once; a later session continues with it, whatever its own limit is."""
        if self.record.minutes is None:
            left = self._minutes - self.record.spent_s / 60
            size = self._size
            if size is None and self._steps is not None:
                size = with_steps(self._plan.full, steps=self._steps)
            elif size is None:
                size = sized(self._plan, costs=costs, card=self._card, rates=UNKNOWN, minutes=left)
            self._keep(replace(self.record, size=size, minutes=self._minutes))

    def _announce(self, costs: CostModel) -> None:
        size, tunings = self.record.size, self._counted(self.record.size)
        predicted = costs.total(tunings)
        print_ = self._runs.console.print
        print_(
            f"Plan: {sum(one.n_members for one in tunings)} prompts in {len(tunings)} runs, {size.steps} steps of "
            f"{size.batch_size} examples, {len(size.seeds)} seeds; predicted {clock(predicted)} at "
            f"{1e6 * costs.token_s:.0f} µs a token",
            highlight=False,
        )
        for one in tunings:
            print_(f"  {one.name}: {one.n_members} prompts, {clock(costs.of(one))}", highlight=False)
        print_(f"  report and maps: {clock(costs.fixed_s)}", highlight=False)
        ended = self.record.runs
        self._rest = [Step(name=one.name, predicted_s=costs.of(one)) for one in tunings if one.name not in ended]
        self._rest.append(Step(name="report", predicted_s=costs.fixed_s))

    def _pilots(self, costs: CostModel) -> Sequence[Tuning]:
        """Perform the pilots; returns the tunings at the rates that they chose."""
        for pilot in self._plan.pilots(self.record.size, self._card):
            if pilot.kind not in self.record.rates:
                chosen = self._searched(pilot, costs=costs)
                runs = [self._one("tune", one.spec, name=one.name, predicted_s=costs.of(one)) for one in chosen]
                searched = losses_by_rate([json.loads(run.read("members.json")) for run in runs])
                best = min(searched, key=lambda rate: searched[rate])
                self._runs.console.print(f"{pilot.kind}: isotropic draws do best at the rate {best:g}", highlight=False)
                self._keep(
                    replace(
                        self.record,
                        rates={**self.record.rates, pilot.kind: best},
                        searched={**self.record.searched, pilot.kind: {f"{k:g}": v for k, v in searched.items()}},
                    )
                )
        return self._plan.tunings(self.record.size, self.record.rates, self._card)

    def _searched(self, pilot: Pilot, *, costs: CostModel) -> list[Tuning]:
        """The first run of a pilot, and the others unless the number of steps is given and they take too much of the time."""
        first, *others = pilot.tunings
        if self._steps is not None:
            too_long = [one for one in others if costs.of(one) > PILOT_SHARE * 60 * self._minutes]
            names = tuple(one.name for one in too_long)
            self._keep(replace(self.record, left_out=(*self.record.left_out, *names)))
            others = [one for one in others if one.name not in names]
        return [first, *others]

    def _tune(self, tunings: Sequence[Tuning], *, costs: CostModel) -> None:
        """Perform the tunings that fit into the limit; the others are left out and recorded."""
        if self._finish:
            self._runs.cancel_unfinished("tune")
        known = {one.name for one in tunings}
        self._rest = [step for step in self._rest if step.name in known or step.name == "report"]
        for one in tunings:
            if one.name in self.record.runs:
                continue
            predicted = costs.of(one)
            left = 60 * self._minutes - self.record.spent_s
            if self._finish or (self._size is None and correction(self.record) * (predicted + costs.fixed_s) > left):
                self._runs.console.print(f"{one.name} is left out: predicted {clock(predicted)}", highlight=False)
                self._keep(replace(self.record, left_out=(*self.record.left_out, one.name)))
            else:
                self._one("tune", one.spec, name=one.name, predicted_s=predicted)

    def _one(
        self, kind: Literal["tune", "map", "report"], spec: Spec, *, name: str, predicted_s: float | None = None
    ) -> Run:
        """Perform one run, or continue that of an earlier session, and record it."""
        runs = self._runs
        run = runs.new_report(spec) if kind == "report" else runs.start(kind, spec, name=name)
        self._rest = [step for step in self._rest if step.name != name]
        current = Step(name=name, predicted_s=predicted_s or 0.0)
        seconds = follow(run, current=current, rest=self._rest, record=self.record, console=runs.console)
        runs.console.print(f"{name}: {run.id}, {clock(seconds)}", highlight=False)
        facts = {"n_points": run.outcome["n_points"]} if kind == "map" else {}
        done = Done(run_id=run.id, seconds=seconds, predicted_s=predicted_s, prompts=tuple(run.prompts), facts=facts)
        self._keep(self.record.with_run(name, done))
        return run

    def _counted(self, size: Size) -> list[Tuning]:
        return all_tunings(self._plan, size=size, card=self._card, rates=UNKNOWN)

    def _keep(self, record: Record) -> None:
        self.record = record
        self._save(record)


def losses_by_rate(tables: Sequence[Sequence[Mapping[str, Any]]]) -> dict[float, float]:
    """Mean validation loss of each rate over the tables of several runs. A rate with a prompt that has none is left out.

    Args:
        tables: contents of ``members.json``.

    Raises:
        ValueError: no rate has a loss.
    """
    losses: dict[float, list[float]] = {}
    for table in tables:
        for row in table:
            losses.setdefault(float(row["lr"]), []).append(float(row["metrics"].get("validation/loss", math.inf)))
    found = {rate: math.fsum(each) / len(each) for rate, each in losses.items() if all(map(math.isfinite, each))}
    if not found:
        raise ValueError(f"expected a validation loss of at least one rate, got none of {sorted(losses)}")
    return found
