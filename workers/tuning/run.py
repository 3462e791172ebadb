"""Runs of kind ``tune``: draw, train, evaluate and store prompts.

Checkpoints hold the state of all phases. An attempt that resumes from one gives the same results as an uninterrupted run.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence

from service.planning.checks.members import numbered_kinds
from workers.evaluation.evaluator import Evaluation
from workers.evaluation.example_rows import CheckpointInterval, ExampleRow, write_lines
from workers.running.interface import RunContext, RunStopped, SharedRunContext
from workers.tuning.context import TuningContext
from workers.tuning.initialization import Initialization, initialize
from workers.tuning.parts.division import divide, work_of_member
from workers.tuning.parts.plan import PartsPlan, PlanFile
from workers.tuning.parts.sharing import DividedTraining
from workers.tuning.posterior.results import store_posterior
from workers.tuning.results.curves import Point
from workers.tuning.results.evaluation import MemberResults, evaluation_of
from workers.tuning.results.outcome_table import Entry, best_of, run_metrics, table_of
from workers.tuning.results.recorders import Recorders, RunIdentity, TensorBoard, outside_recorders
from workers.tuning.results.versions import save_draw, save_snapshots, store_version
from workers.tuning.training_loop import Training

ROWS = "rows.jsonl"
"""Checkpoint file with the rows that are evaluated so far."""

EVALUATION_SHARE = 10
"""The evaluation counts in the run's progress as 1 / EVALUATION_SHARE of the training steps."""


def tune(run: SharedRunContext) -> Mapping[str, float]:
    """Tune and evaluate every member of the spec, and store each as a prompt version.

    Writes ``spec.json``, ``members.json`` and ``evaluation.jsonl``; for each version ``draws/{ref}.safetensors`` and
    ``snapshots/{ref}.safetensors``; and event files for TensorBoard under ``tensorboard/``.

    Returns:
        the metrics of the best member, as in its manifest. With several members, also ``{name}/{metric}`` of each. With a
        posterior, also its diagnostics; it is the only stored version.

    Raises:
        InvalidRequest, NotFound, DamagedArtifact: the spec is invalid, or names something that is missing or damaged.
        Conflict: the dataset or the model has changed since the first attempt.
    """
    return perform(run, open_context=TuningContext.of)


def perform(run: SharedRunContext, *, open_context: Callable[[RunContext], TuningContext]) -> Mapping[str, float]:
    """Train, evaluate and store the members of a run of any kind that trains prompts; see ``tune``."""
    run.save_output("spec.json", json.dumps(dict(run.spec), indent=2).encode())
    context = open_context(run)
    # Closed however the attempt ends: a work horse ends without exit handlers.
    with contextlib.closing(TensorBoard(keep=run.save_output)) as tensorboard:
        return _Tuning(run, context=context, tensorboard=tensorboard).execute()


class _Tuning:
    """One attempt at a tuning run."""

    def __init__(self, run: SharedRunContext, *, context: TuningContext, tensorboard: TensorBoard) -> None:
        self._context = context
        self._tensorboard = tensorboard
        self._run = run
        files = self._run.load_checkpoint()
        self._initialization = self._load_or_initialize(files)
        self._recorders = self._make_recorders()
        self._training = Training(context, self._initialization, on_point=self._publish, clock=time.time)
        self._rows = b""
        if files is None:
            self._log_start()
            self._training.validate_draws()
            self._save()
        else:
            self._resume(files)
        self._plan = self._load_or_make_plan()
        n_parts = 1 if self._plan is None else self._plan.n_parts
        self._n_steps = context.spec.optimizer.steps * n_parts
        self._n_total = self._n_steps + max(1, self._n_steps // EVALUATION_SHARE)

    def execute(self) -> dict[str, float]:
        self._train()
        measured = MemberResults(self._context, self._evaluate())
        if self._context.spec.posterior is not None:
            metrics = store_posterior(
                self._context, self._training, initialization=self._initialization, measured=measured
            )
            self._recorders.finish(metrics)
            self._run.progress(self._n_total, self._n_total)
            return metrics
        entries = self._store(measured)
        best = best_of(entries)
        metrics = run_metrics(entries, best=best)
        self._recorders.finish(metrics)
        self._run.progress(self._n_total, self._n_total)
        self._run.log(f"The best of {len(entries)}: {best.manifest.ref}, {best.reason}.")
        return metrics

    def _load_or_initialize(self, files: Mapping[str, bytes] | None) -> Initialization:
        context, revision = self._context, self._context.model.card.revision
        if files is not None:
            initialization = Initialization.load(files)
            initialization.require_same(dataset_sha256=context.data_sha256, base_revision=revision)
            return initialization
        return initialize(
            context.spec,
            members=context.members,
            model=context.model,
            sources=context.sources,
            dataset_sha256=context.data_sha256,
            max_bytes=context.forward_bytes,
        )

    def _load_or_make_plan(self) -> PartsPlan | None:
        """The parts that workers train; None if all members are trained together."""
        file = PlanFile(self._run.artifacts, run_id=self._run.run_id)
        plan = file.load_intact(log=self._context.warn)
        # A run that an earlier version began stays in one part.
        if plan is None and self._training.step_number == 0 and self._context.has_independent_members:
            train, model = self._training.train, self._context.model
            work = work_of_member(self._context.spec, model=model, train=train)
            parts = divide(len(self._context.members), work=work, device_type=model.device.type)
            if len(parts) > 1:
                plan = PartsPlan.of(parts, model=model)
                file.save(plan)
                self._run.log(f"The prompts are trained in {len(parts)} parts, with which idle workers can help.")
        return plan

    def _log_start(self) -> None:
        n_members, training = len(self._context.members), self._training
        members = "one prompt" if n_members == 1 else f"{n_members} prompts together"
        self._run.log(
            f"Tuning {members} on {len(training.train)} examples of {self._context.texts.name}, with "
            f"{len(training.validation)} validation examples."
        )
        for index, by_tensor in self._initialization.facts.items():
            label = numbered_kinds(self._context.spec.priors)[int(index)]
            for tensor, facts in by_tensor.items():
                if facts:
                    listed = ", ".join(f"{name} {_formatted(value)}" for name, value in facts.items())
                    self._run.log(f"Prior {label} for {tensor}: {listed}.")

    def _resume(self, files: Mapping[str, bytes]) -> None:
        self._training.load(files)
        self._rows = files[ROWS]
        for point in self._training.points:
            self._tensorboard.record(point.step, member=point.member, values=point.values, time_s=point.time_s)

    def _make_recorders(self) -> Recorders:
        identity = RunIdentity(id=self._run.run_id, name=self._run.name or self._run.run_id, config=self._run.spec)
        outside = outside_recorders(identity, environ=os.environ, warn=self._context.warn)
        return Recorders({"TensorBoard": self._tensorboard, **outside}, warn=self._context.warn)

    def _publish(self, point: Point) -> None:
        self._run.metric(point.step, member=point.member, **point.values)
        self._recorders.record(point.step, member=point.member, values=point.values, time_s=point.time_s)

    def _save(self) -> None:
        self._run.save_checkpoint({**self._initialization.files(), **self._training.files(), ROWS: self._rows})

    # --- training ---

    def _train(self) -> None:
        if self._plan is not None and not self._training.finished:
            self._train_parts(self._plan)
        saved_at = self._training.step_number
        try:
            while not self._training.finished:
                self._run.check()
                self._training.step()
                step = self._training.step_number
                self._run.progress(step, self._n_total)
                if step % self._context.spec.checkpoint_every == 0 or self._training.finished:
                    self._save()
                    saved_at = step
        except RunStopped:
            if self._training.step_number > saved_at:
                self._save()
            raise

    def _train_parts(self, plan: PartsPlan) -> None:
        divided = DividedTraining(
            self._run,
            context=self._context,
            initialization=self._initialization,
            plan=plan,
            training=self._training,
            on_point=self._publish,
            on_progress=lambda step: self._run.progress(step, self._n_total),
        )
        self._training.load(divided.complete())
        self._save()
        divided.clear()
        if divided.n_by_helpers:
            self._run.log(f"Other workers trained {divided.n_by_helpers} of {plan.n_parts} parts.")

    # --- evaluation ---

    def _evaluate(self) -> Sequence[ExampleRow]:
        evaluation = evaluation_of(self._context, self._initialization, self._training.outcomes)
        if evaluation is None:
            return ()
        evaluation.load(self._rows)
        interval = CheckpointInterval(n_saved=len(evaluation.rows))
        try:
            while not evaluation.finished:
                self._run.check()
                evaluation.step()
                self._progress_of(evaluation)
                if interval.is_due(len(evaluation.rows)):
                    self._save_rows(evaluation, interval)
        except RunStopped:
            if len(evaluation.rows) > interval.n_saved:
                self._save_rows(evaluation, interval)
            raise
        return evaluation.rows

    def _save_rows(self, evaluation: Evaluation, interval: CheckpointInterval) -> None:
        self._rows = evaluation.state()
        self._save()
        interval.saved(len(evaluation.rows))

    def _progress_of(self, evaluation: Evaluation) -> None:
        n_evaluation_steps = self._n_total - self._n_steps
        self._run.progress(
            self._n_steps + n_evaluation_steps * len(evaluation.rows) // evaluation.n_total, self._n_total
        )

    # --- results ---

    def _store(self, measured: MemberResults) -> list[Entry]:
        entries = []
        lines = measured.reference_lines()
        for i, (member, outcome) in enumerate(zip(self._context.members, self._training.outcomes, strict=True)):
            self._run.check()
            metrics = measured.metrics(member)
            if outcome.validation_loss is not None:
                metrics.setdefault("validation/loss", outcome.validation_loss)
            manifest = store_version(
                self._context, member, outcome=outcome, initialization=self._initialization, metrics=metrics
            )
            save_draw(self._context, member, initialization=self._initialization, ref=manifest.ref)
            save_snapshots(self._context, self._training.snapshots(i), ref=manifest.ref)
            lines += measured.lines(member, ref=manifest.ref)
            entries.append(Entry(member=member, outcome=outcome, manifest=manifest, metrics=metrics))
        self._run.save_output("evaluation.jsonl", write_lines(lines))
        self._run.save_output("members.json", table_of(entries))
        return entries


def _formatted(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
