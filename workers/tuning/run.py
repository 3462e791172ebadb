"""The kind ``tune``: from a spec to tuned prompts in the store, by way of draws, training and evaluation.

Checkpoints hold all three, so whichever of them an attempt dies in, the next one goes on there and comes to the same end.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence

from service.planning.checks.members import numbered_kinds
from workers.evaluation.evaluator import Evaluation
from workers.evaluation.example_rows import CheckpointInterval, ExampleRow, write_lines
from workers.running.interface import RunContext, RunStopped
from workers.tuning.context import TuningContext
from workers.tuning.initialization import Initialization, begin
from workers.tuning.results.curves import Point
from workers.tuning.results.evaluation import Measured, evaluation_of
from workers.tuning.results.outcome_table import Entry, best_of, run_metrics, table_of
from workers.tuning.results.recorders import Recorders, RunIdentity, TensorBoard, outside_recorders
from workers.tuning.results.versions import save_draw, save_snapshots, store_version
from workers.tuning.training_loop import Training

ROWS = "rows.jsonl"
"""File of a checkpoint: the rows of the evaluation so far."""

EVALUATION_SHARE = 10
"""In the run's progress all of the evaluation counts as one in so many training steps."""


def tune(run: RunContext) -> Mapping[str, float]:
    """Tune every member of the spec, measure it, and store it as a prompt version.

    Leaves ``spec.json``, ``members.json``, ``evaluation.jsonl``, and for each version ``draws/{ref}.safetensors`` and
    ``snapshots/{ref}.safetensors``; curves for TensorBoard under ``tensorboard/``.

    Returns:
        the metrics of the best member, as in its manifest; those of every member under ``{name}/…`` if there are several.

    Raises:
        InvalidRequest, NotFound, DamagedArtifact, Conflict: the spec cannot be done, or no longer.
    """
    run.save_output("spec.json", json.dumps(dict(run.spec), indent=2).encode())
    return _Tuning(TuningContext.of(run)).carry_out()


class _Tuning:
    """One attempt."""

    def __init__(self, job: TuningContext) -> None:
        self._job = job
        self._run = job.run
        self._n_steps = job.spec.optimizer.steps
        self._n_total = self._n_steps + max(1, self._n_steps // EVALUATION_SHARE)
        kept = self._run.load_checkpoint()
        self._beginning = self._begin(kept)
        self._recorders = self._make_recorders()
        self._training = Training(job, self._beginning, tell=self._tell, clock=time.time)
        self._rows = b""
        if kept is None:
            self._introduce()
            self._training.begin()
            self._save()
        else:
            self._go_on(kept)

    def carry_out(self) -> dict[str, float]:
        self._train()
        measured = Measured(self._job, self._evaluate())
        entries = self._store(measured)
        best = best_of(entries)
        metrics = run_metrics(entries, best=best)
        self._recorders.finish(metrics)
        self._run.progress(self._n_total, self._n_total)
        self._run.log(f"The best of {len(entries)}: {best.manifest.ref}, {best.reason}.")
        return metrics

    def _begin(self, kept: Mapping[str, bytes] | None) -> Initialization:
        job, dataset, revision = self._job, self._job.dataset, self._job.model.card.revision
        if kept is not None:
            beginning = Initialization.load(kept)
            beginning.require_same(dataset_sha256=dataset.sha256, base_revision=revision)
            return beginning
        return begin(job.spec, members=job.members, model=job.model, sources=job.sources, dataset_sha256=dataset.sha256)

    def _introduce(self) -> None:
        n_members, training = len(self._job.members), self._training
        members = "one prompt" if n_members == 1 else f"{n_members} prompts side by side"
        self._run.log(
            f"Tunes {members} on {training.n_train} examples of {self._job.dataset.name}; {training.n_validation} validate."
        )
        for place, by_tensor in self._beginning.facts.items():
            label = numbered_kinds(self._job.spec.priors)[int(place)]
            for tensor, facts in by_tensor.items():
                if facts:
                    told = ", ".join(f"{name} {_shown(value)}" for name, value in facts.items())
                    self._run.log(f"Prior {label} for {tensor}: {told}.")

    def _go_on(self, kept: Mapping[str, bytes]) -> None:
        self._training.load(kept)
        self._rows = kept[ROWS]
        for point in self._training.points:
            self._tensorboard.record(point.step, member=point.member, values=point.values, time_s=point.time_s)

    def _make_recorders(self) -> Recorders:
        self._tensorboard = TensorBoard(keep=self._run.save_output)
        identity = RunIdentity(id=self._run.run_id, name=self._run.name or self._run.run_id, config=self._run.spec)
        outside = outside_recorders(identity, environ=os.environ, warn=self._job.warn)
        return Recorders({"TensorBoard": self._tensorboard, **outside}, warn=self._job.warn)

    def _tell(self, point: Point) -> None:
        self._run.metric(point.step, member=point.member, **point.values)
        self._recorders.record(point.step, member=point.member, values=point.values, time_s=point.time_s)

    def _save(self) -> None:
        self._run.save_checkpoint({**self._beginning.files(), **self._training.files(), ROWS: self._rows})

    # --- training ---

    def _train(self) -> None:
        saved_at = self._training.step_number
        try:
            while not self._training.finished:
                self._run.check()
                self._training.step()
                step = self._training.step_number
                self._run.progress(step, self._n_total)
                if step % self._job.spec.checkpoint_every == 0 or self._training.finished:
                    self._save()
                    saved_at = step
        except RunStopped:
            if self._training.step_number > saved_at:
                self._save()
            raise

    # --- evaluation ---

    def _evaluate(self) -> Sequence[ExampleRow]:
        evaluation = evaluation_of(self._job, self._beginning, self._training.outcomes)
        if evaluation is None:
            return ()
        evaluation.load(self._rows)
        pace = CheckpointInterval(n_saved=len(evaluation.rows))
        try:
            while not evaluation.finished:
                self._run.check()
                evaluation.step()
                self._progress_of(evaluation)
                if pace.is_due(len(evaluation.rows)):
                    self._save_rows(evaluation, pace)
        except RunStopped:
            if len(evaluation.rows) > pace.n_saved:
                self._save_rows(evaluation, pace)
            raise
        return evaluation.rows

    def _save_rows(self, evaluation: Evaluation, pace: CheckpointInterval) -> None:
        self._rows = evaluation.state()
        self._save()
        pace.saved(len(evaluation.rows))

    def _progress_of(self, evaluation: Evaluation) -> None:
        n_share = self._n_total - self._n_steps
        self._run.progress(self._n_steps + n_share * len(evaluation.rows) // evaluation.n_total, self._n_total)

    # --- what is left ---

    def _store(self, measured: Measured) -> list[Entry]:
        entries = []
        lines = measured.bare_lines()
        for i, (member, outcome) in enumerate(zip(self._job.members, self._training.outcomes, strict=True)):
            self._run.check()
            metrics = measured.metrics(member)
            if outcome.validation_loss is not None:
                metrics.setdefault("validation/loss", outcome.validation_loss)
            manifest = store_version(self._job, member, outcome=outcome, beginning=self._beginning, metrics=metrics)
            save_draw(self._job, member, beginning=self._beginning, ref=manifest.ref)
            save_snapshots(self._job, self._training.snapshots(i), ref=manifest.ref)
            lines += measured.lines(member, ref=manifest.ref)
            entries.append(Entry(member=member, outcome=outcome, manifest=manifest, metrics=metrics))
        self._run.save_output("evaluation.jsonl", write_lines(lines))
        self._run.save_output("members.json", table_of(entries))
        return entries


def _shown(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
