"""What is promised about runs, as it follows from the pace of those who look after them."""

from __future__ import annotations

from service.queueing.intervals import Intervals

START_S = 8.0
"""Enough for a work horse to start on a slow machine."""


def test_a_killed_worker_s_run_goes_on_within_half_a_minute() -> None:
    timing = Intervals()
    assert timing.alive_s + 2 * timing.reconcile_s + START_S < 30


def test_a_cancel_is_obeyed_or_enforced_within_five_seconds() -> None:
    timing = Intervals()
    # One look to see it, the grace, and one look to see that it is over.
    assert timing.look_s + timing.cancel_grace_s + timing.look_s < 5


def test_a_sign_of_life_is_due_between_two_looks_for_it() -> None:
    timing = Intervals()
    assert timing.beat_s < timing.reconcile_s
    assert 3 * timing.beat_s < timing.alive_s


def test_events_are_stored_once_a_second_at_most() -> None:
    assert Intervals().flush_s >= 1
