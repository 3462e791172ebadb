"""The training of a run's members, step by step: curves, notes, and the files that it goes on from."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from service.engine.shapes import Tensor
from workers.tuning.context import TuningContext
from workers.tuning.initialization import Initialization, log_prob_under, settings_of
from workers.tuning.results.curves import Curves, Point, Tell
from workers.tuning.training.settings import Member
from workers.tuning.training.step_report import Outcome, Status, StepReport
from workers.tuning.training.trainer import Trainer

CURVES = "curves.json"
"""File of a checkpoint, beside the trainer's own."""

ENDINGS: Mapping[Status, str] = {
    "stopped": "stopped early: its validation loss has not fallen any more",
    "diverged": "was given up: its numbers stopped being finite again and again",
}


class Training:
    """All members of a run in one trainer.

    Args:
        tell: takes the points of the curves.
        clock: seconds since the epoch.

    Attributes:
        n_train, n_validation: examples of either purpose.
    """

    def __init__(
        self, job: TuningContext, beginning: Initialization, *, tell: Tell, clock: Callable[[], float]
    ) -> None:
        self._job = job
        validation = [item.encoded for item in job.items("validation")]
        settings = settings_of(job.spec, can_validate=bool(validation))
        train = job.training_examples()
        self.n_train, self.n_validation = len(train), len(validation)
        self._trainer = Trainer(
            job.model,
            members=_members(job, beginning),
            train=train,
            validation=validation,
            settings=settings,
            max_bytes=beginning.max_bytes,
        )
        self._curves = Curves(n_steps=settings.steps, tell=tell, clock=clock)
        self._ended: set[str] = set()

    @property
    def step_number(self) -> int:
        return self._trainer.step_number

    @property
    def finished(self) -> bool:
        return self._trainer.finished

    @property
    def points(self) -> list[Point]:
        """Of the curves so far, those of earlier attempts too."""
        return self._curves.points

    @property
    def outcomes(self) -> list[Outcome]:
        """What has become of each member, in order."""
        return [self._trainer.outcome(i) for i in range(len(self._job.members))]

    def snapshots(self, i: int) -> Mapping[int, Mapping[str, Tensor]]:
        """Step → member i's vectors after it."""
        return self._trainer.snapshots(i)

    def begin(self) -> None:
        """Measure the draws; once, before the first step."""
        self._curves.begin(self._trainer.validation_losses())

    def step(self) -> None:
        """One update of all members that are running."""
        report = self._trainer.step()
        self._curves.take(report)
        self._log(report)

    def files(self) -> dict[str, bytes]:
        """What ``load`` goes on from."""
        return {**self._trainer.state(), CURVES: self._curves.state()}

    def load(self, files: Mapping[str, bytes]) -> None:
        """Go on from ``files()`` of an earlier attempt."""
        self._curves.load(files[CURVES])
        self._trainer.load({name: data for name, data in files.items() if name != CURVES})

    def _log(self, report: StepReport) -> None:
        for note in report.notes:
            self._job.warn(f"Step {report.step}: {note}")
        for member in report.members:
            if member.status in ENDINGS and member.name not in self._ended:
                self._ended.add(member.name)
                if member.loss is not None:
                    self._job.run.log(f"Step {report.step}: {member.name} {ENDINGS[member.status]}.")


def _members(job: TuningContext, beginning: Initialization) -> list[Member]:
    return [
        Member(
            name=member.name,
            lr=member.plan.lr,
            start=beginning.draws[member.draw],
            prior_log_prob=log_prob_under(job.spec, member.plan, model=job.model, sources=job.sources),
            seed=member.plan.seed,
        )
        for member in job.members
    ]
