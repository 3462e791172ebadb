from __future__ import annotations

import pytest

from workers.running.attempt.eta import EtaEstimator


def paced(*marks: tuple[float, int]) -> EtaEstimator:
    pace = EtaEstimator()
    for now_s, step in marks:
        pace.note(step, now_s=now_s)
    return pace


@pytest.mark.parametrize("marks", [[], [(0.0, 0)], [(0.0, 3), (5.0, 3)]])
def test_there_is_no_estimate_before_the_first_steps(marks: list[tuple[float, int]]) -> None:
    assert paced(*marks).remaining_s(10) is None


def test_the_remaining_time_is_that_of_the_remaining_steps() -> None:
    assert paced((0.0, 0), (10.0, 5)).remaining_s(20) == pytest.approx(30.0)


def test_steps_done_before_this_attempt_do_not_count_as_fast() -> None:
    assert paced((100.0, 900), (110.0, 910)).remaining_s(1000) == pytest.approx(90.0)


def test_only_the_last_minute_counts() -> None:
    slow_then_fast = [(10.0 * i, i) for i in range(30)] + [(300.0 + i, 30 + 10 * i) for i in range(100)]
    assert paced(*slow_then_fast).remaining_s(1030) == pytest.approx(1.0)


def test_a_run_slower_than_one_step_per_minute_has_an_estimate() -> None:
    assert paced((0.0, 0), (1000.0, 1), (2000.0, 2)).remaining_s(4) == pytest.approx(2000.0)


def test_an_earlier_step_resets_the_estimate() -> None:
    assert paced((0.0, 0), (10.0, 100), (20.0, 50)).remaining_s(100) is None


def test_all_reports_of_a_burst_count() -> None:
    assert paced((0.0, 0), (10.0, 10), (10.001, 11)).remaining_s(11) == 0.0
