from __future__ import annotations

import itertools
import math

from workers.tuning.results.curves import N_POINTS, Curves, Point
from workers.tuning.training.step_report import MemberReport, Status, StepReport


def curves(points: list[Point], *, n_steps: int) -> Curves:
    ticks = itertools.count(100)
    return Curves(n_steps=n_steps, on_point=points.append, clock=lambda: float(next(ticks)))


def report(step: int, *, loss: float | None, status: Status = "running", validation: float | None = None) -> StepReport:
    member = MemberReport(name="a", status=status, loss=loss, lr=0.1, grad_norm=2.0, validation_loss=validation)
    return StepReport(step=step, members=(member,))


def test_a_point_has_the_mean_loss_since_the_last() -> None:
    points: list[Point] = []
    found = curves(points, n_steps=3 * N_POINTS)
    for step, loss in enumerate((4.0, 1.0, 1.0, 7.0, 8.0, 9.0, 0.0), start=1):
        found.record_step(report(step, loss=loss))
    assert [(point.step, point.values["loss"]) for point in points] == [(3, 2.0), (6, 8.0)]
    assert points[0].values == {"loss": 2.0, "lr": 0.1, "grad_norm": 2.0}
    assert [point.time_s for point in points] == [100.0, 101.0]


def test_the_last_step_and_the_end_of_a_member_have_points() -> None:
    points: list[Point] = []
    found = curves(points, n_steps=10 * N_POINTS)
    found.record_step(report(1, loss=4.0))
    found.record_step(report(2, loss=2.0, status="stopped"))
    found.record_step(report(3, loss=None, status="stopped"))
    assert [(point.step, point.values["loss"]) for point in points] == [(2, 3.0)]
    found.record_step(report(10 * N_POINTS, loss=5.0))
    assert points[-1].step == 10 * N_POINTS


def test_a_validation_loss_has_a_point_at_its_step() -> None:
    points: list[Point] = []
    found = curves(points, n_steps=3 * N_POINTS)
    found.record_draws({"a": 9.0})
    found.record_step(report(1, loss=4.0, validation=5.0))
    assert [(point.step, point.values) for point in points] == [
        (0, {"validation_loss": 9.0}),
        (1, {"validation_loss": 5.0}),
    ]


def test_numbers_that_are_not_finite_are_left_out() -> None:
    points: list[Point] = []
    found = curves(points, n_steps=2 * N_POINTS)
    found.record_step(report(1, loss=math.nan))
    found.record_step(report(2, loss=3.0))
    found.record_step(report(3, loss=math.nan))
    found.record_step(report(4, loss=math.inf, validation=math.nan))
    assert points[0].values["loss"] == 3.0
    assert set(points[1].values) == {"lr", "grad_norm"}


def test_a_loaded_state_continues_an_incomplete_mean() -> None:
    first: list[Point] = []
    begun = curves(first, n_steps=3 * N_POINTS)
    for step, loss in enumerate((4.0, 1.0, 1.0, 7.0), start=1):
        begun.record_step(report(step, loss=loss))
    points: list[Point] = []
    after = curves(points, n_steps=3 * N_POINTS)
    after.load(begun.state())
    assert (points, after.points) == ([], first)
    after.record_step(report(5, loss=8.0))
    after.record_step(report(6, loss=9.0))
    assert [(point.step, point.values["loss"]) for point in after.points] == [(3, 2.0), (6, 8.0)]
