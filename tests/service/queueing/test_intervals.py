"""The intervals satisfy the documented guarantees."""

from __future__ import annotations

from service.queueing.intervals import Intervals

START_S = 8.0
"""Sufficient for a work horse to start on a slow machine."""


def test_the_run_of_a_killed_worker_continues_within_half_a_minute() -> None:
    timing = Intervals()
    assert timing.alive_s + 2 * timing.reconcile_s + START_S < 30


def test_a_cancel_takes_at_most_five_seconds() -> None:
    timing = Intervals()
    # One check to notice it, the grace period, and one check to notice its end.
    assert timing.look_s + timing.cancel_grace_s + timing.look_s < 5


def test_a_heartbeat_is_due_between_two_checks() -> None:
    timing = Intervals()
    assert timing.beat_s < timing.reconcile_s
    assert 3 * timing.beat_s < timing.alive_s


def test_events_are_stored_once_a_second_at_most() -> None:
    assert Intervals().flush_s >= 1
