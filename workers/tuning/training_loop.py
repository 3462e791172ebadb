"""Training loop of a run, or of a part of it: the trainer with its curves, log lines and checkpoint files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from service.engine.shapes import Tensor
from workers.inputs.examples import EncodedExample
from workers.tuning.context import TuningContext
from workers.tuning.initialization import Initialization, RunMember, log_prob_under, settings_of
from workers.tuning.results.curves import Curves, OnPoint, Point
from workers.tuning.training.settings import Member
from workers.tuning.training.step_report import Outcome, Status, StepReport
from workers.tuning.training.trainer import Trainer

CURVES = "curves.json"
"""Checkpoint file of the curves. The trainer's own files are in the same checkpoint."""

END_MESSAGES: Mapping[Status, str] = {
    "stopped": "stopped early because its validation loss no longer decreased",
    "diverged": "was abandoned after repeated losses or gradients that are not finite",
}


OnLog = Callable[[str, str], None]
"""Takes the text and the level of a message for the owner of the run."""


class Training:
    """All members of a run in one trainer, or some of them.

    Args:
        on_point: takes the points of the curves.
        clock: seconds since the epoch.
        on_log: takes messages; None: the run's log.
        chosen: indices of the members; None: all.
        alike: another training of the same run, whose examples and cached states are used.

    Attributes:
        train, validation: training and validation examples.
        settings: of the trainer.
    """

    def __init__(
        self,
        context: TuningContext,
        initialization: Initialization,
        *,
        on_point: OnPoint,
        clock: Callable[[], float],
        on_log: OnLog | None = None,
        chosen: Sequence[int] | None = None,
        alike: Training | None = None,
    ) -> None:
        self._context = context
        self._on_log = on_log or (lambda text, level: context.run.log(text, level=level))
        self._members = [context.members[i] for i in (range(len(context.members)) if chosen is None else chosen)]
        validation: list[EncodedExample] = context.validation_examples() if alike is None else alike.validation
        train: list[EncodedExample] = context.training_examples() if alike is None else alike.train
        self.train: list[EncodedExample] = train
        self.validation: list[EncodedExample] = validation
        n_observations = sum(len(example.target_ids) for example in train)
        settings = settings_of(context.spec, can_validate=bool(validation), n_observations=max(n_observations, 1))
        self.settings = settings
        self._trainer = Trainer(
            context.model,
            members=[_trained(member, context, initialization) for member in self._members],
            train=train,
            validation=validation,
            settings=settings,
            max_bytes=initialization.max_bytes,
            criterion=context.criterion(),
            curriculum=context.curriculum(),
            sampler=context.sampler(),
            frozen=None if alike is None else alike.trainer.frozen,
        )
        self._curves = Curves(n_steps=settings.steps, on_point=on_point, clock=clock)
        self._ended: set[str] = set()

    @property
    def step_number(self) -> int:
        return self._trainer.step_number

    @property
    def finished(self) -> bool:
        return self._trainer.finished

    @property
    def points(self) -> list[Point]:
        """Points of the curves so far, including those of earlier attempts."""
        return self._curves.points

    @property
    def outcomes(self) -> list[Outcome]:
        """The outcome of each member, in order."""
        return [self._trainer.outcome(i) for i in range(len(self._members))]

    @property
    def trainer(self) -> Trainer:
        """The trainer, for measures of the loss around a prompt."""
        return self._trainer

    def snapshots(self, i: int) -> Mapping[int, Mapping[str, Tensor]]:
        """Vectors of member ``i`` by the step after which they were copied."""
        return self._trainer.snapshots(i)

    def validate_draws(self) -> None:
        """Record the validation losses of the draws. Called once, before the first step."""
        self._curves.record_draws(self._trainer.validation_losses())

    def step(self) -> None:
        """Update all running members."""
        report = self._trainer.step()
        self._context.run.count("tuning_steps")
        self._context.run.count("tuning_tokens", report.n_tokens)
        self._curves.record_step(report)
        self._log(report)

    def files(self) -> dict[str, bytes]:
        """Checkpoint files, which ``load`` resumes from."""
        return {**self._trainer.state(), CURVES: self._curves.state()}

    def load(self, files: Mapping[str, bytes]) -> None:
        """Resume from the ``files()`` of an earlier attempt."""
        self._curves.load(files[CURVES])
        self._trainer.load({name: data for name, data in files.items() if name != CURVES})

    def _log(self, report: StepReport) -> None:
        for note in report.notes:
            self._on_log(f"Step {report.step}: {note}", "warning")
        for member in report.members:
            if member.status in END_MESSAGES and member.name not in self._ended:
                self._ended.add(member.name)
                if member.loss is not None:
                    self._on_log(f"Step {report.step}: {member.name} {END_MESSAGES[member.status]}.", "info")


def _trained(member: RunMember, context: TuningContext, initialization: Initialization) -> Member:
    return Member(
        name=member.name,
        lr=member.plan.lr,
        start=initialization.draws[member.draw],
        prior_log_prob=log_prob_under(context.spec, member.plan, model=context.model, sources=context.sources),
        seed=member.plan.seed,
    )
