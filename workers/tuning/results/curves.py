"""Curves of a run's members: step reports, reduced to points."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from workers.tuning.training.step_report import MemberReport, StepReport

N_POINTS = 200
"""Approximate number of points of a loss curve, for any number of steps."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """Values of one member after ``step`` updates. time_s: time of the point, in seconds since the epoch."""

    step: int
    member: str
    values: dict[str, float]
    time_s: float


OnPoint = Callable[[Point], None]
"""Called with each new point."""


class Curves:
    """Reduces step reports to points.

    ``loss`` is the mean over the steps since the last point. ``lr`` and ``grad_norm`` are those of the step.
    ``validation_loss`` has a point whenever it is measured. Values that are not finite are omitted.

    Args:
        n_steps: of the whole training.
        on_point: takes each point.
        clock: seconds since the epoch.
    """

    def __init__(self, *, n_steps: int, on_point: OnPoint, clock: Callable[[], float]) -> None:
        self._every = max(1, n_steps // N_POINTS)
        self._n_steps = n_steps
        self._on_point = on_point
        self._clock = clock
        self._losses: dict[str, list[float]] = {}
        self.points: list[Point] = []

    def record_draws(self, validation_losses: dict[str, float]) -> None:
        """Record the validation losses of the draws, before any update."""
        for member, loss in validation_losses.items():
            self._add(0, member, {"validation_loss": loss})

    def record_step(self, report: StepReport) -> None:
        """Record the report of the next step."""
        for member in report.members:
            values = {}
            if member.loss is not None:
                self._losses.setdefault(member.name, []).append(member.loss)
                if self._is_due(report.step, member):
                    values = self._since_last(member)
            if member.validation_loss is not None:
                values["validation_loss"] = member.validation_loss
            self._add(report.step, member.name, values)

    def state(self) -> bytes:
        """Serialized state, which ``load`` resumes from."""
        return json.dumps({"losses": self._losses, "points": [vars(point) for point in self.points]}).encode()

    def load(self, data: bytes) -> None:
        """Resume from a ``state``. ``on_point`` is not called for its points."""
        state = json.loads(data)
        self._losses = state["losses"]
        self.points = [Point(**fields) for fields in state["points"]]

    def _is_due(self, step: int, member: MemberReport) -> bool:
        return step % self._every == 0 or step >= self._n_steps or member.status != "running"

    def _since_last(self, member: MemberReport) -> dict[str, float]:
        losses = self._losses.pop(member.name)
        numbers = {"loss": _mean(losses), "lr": member.lr, "grad_norm": member.grad_norm}
        return {name: value for name, value in numbers.items() if value is not None}

    def _add(self, step: int, member: str, values: dict[str, float]) -> None:
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        if finite:
            point = Point(step=step, member=member, values=finite, time_s=self._clock())
            self.points.append(point)
            self._on_point(point)


def _mean(losses: Sequence[float]) -> float:
    finite = [loss for loss in losses if math.isfinite(loss)]
    return math.fsum(finite) / len(finite) if finite else math.nan
