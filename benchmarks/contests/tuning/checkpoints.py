"""Cost of checkpoints: a training with periodic checkpoints in a local store, against one without."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.contests.tuning.soft import FUSED, FUSED_QUICK
from benchmarks.contests.tuning.soft import Size as FusedSize
from benchmarks.measuring.contest import SECONDS, Contest, Goal, Side
from benchmarks.measuring.tuned import tuned_alike
from benchmarks.sides.models import build_llama
from benchmarks.sides.tuning import Tuned, TuningTask, new_trainer
from service.engine.model.hosted_model import HostedModel
from service.store.artifacts.store import ArtifactStore
from service.store.runs.store import RunStore
from workers.tuning.training.trainer import Trainer

WITH, WITHOUT = "checkpoints", "none"


@dataclass(frozen=True, kw_only=True)
class Size:
    """A fused training with a checkpoint every ``every`` steps, including the last step."""

    tuning: FusedSize
    every: int = 50


FULL = Size(tuning=FUSED)
QUICK = Size(tuning=replace(FUSED_QUICK, n_steps=8), every=4)


@contextlib.contextmanager
def open_contest(size: Size, *, http: bool) -> Iterator[Contest]:
    """Both sides; ``http`` has no effect."""
    task = size.tuning.task()
    hosted = HostedModel("benchmark", build_llama(size.tuning.model), None, revision="random")
    with TemporaryDirectory() as folder:
        writer = _checkpoint_writer(Path(folder))
        yield Contest(
            name="tuning-checkpoints",
            work=(
                f"{size.tuning.n_prompts} soft prompts, {size.tuning.n_steps} steps, the trainer's whole state every "
                f"{size.every} steps to a store on a local disk; {size.tuning.model}."
            ),
            sides=[
                Side(name=WITH, run=lambda: tune(hosted, task, save=writer, every=size.every)),
                Side(name=WITHOUT, run=lambda: tune(hosted, task, save=_nowhere, every=size.every)),
            ],
            goals=[
                Goal(
                    label=f"time {WITH} : {WITHOUT}",
                    at_most=1.03,
                    value=lambda turn: turn[WITH][SECONDS] / turn[WITHOUT][SECONDS],
                )
            ],
            compare=lambda answers: tuned_alike(f"{WITH} against {WITHOUT}", answers[WITH], answers[WITHOUT]),
        )


def tune(hosted: HostedModel, task: TuningTask, *, save: Callable[[Trainer], None], every: int) -> Tuned:
    """Run the fused training; ``save`` is called with the trainer every ``every`` steps."""
    trainer = new_trainer(hosted, task)
    losses = []
    while not trainer.finished:
        losses.append([float(member.loss or 0.0) for member in trainer.step().members])
        if trainer.step_number % every == 0:
            save(trainer)
    return Tuned(losses=torch.tensor(losses), tensors=[trainer.tensors(i) for i in range(len(task.starts))])


def _checkpoint_writer(folder: Path) -> Callable[[Trainer], None]:
    """Save a checkpoint as a run does."""
    store = RunStore(ArtifactStore(str(folder)))
    record = store.create("tune", spec={})
    writer = store.claim(record.id, worker="benchmark")
    return lambda trainer: writer.save_checkpoint(trainer.state())


def _nowhere(trainer: Trainer) -> None:
    return None
