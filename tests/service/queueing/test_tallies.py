"""Tallies in a real Redis."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from service.errors import Unavailable
from service.queueing.queue import RunQueue, waited_s
from service.queueing.tallies import TALLIES, Series, Tallies, TallyBuffer, ended_of, parse_tallies
from service.store.artifacts.clock import utc_now
from service.store.runs.records import RunState
from tests.service.queueing.conftest import redis_server

__all__ = ["redis_server"]


def test_counters_and_histograms_add_up_over_processes(queue: RunQueue) -> None:
    for process in range(2):
        buffer = TallyBuffer()
        buffer.count("tuning_steps")
        buffer.count("tuning_tokens", 40)
        buffer.count("tuning_tokens", 2)
        # A bound belongs to its own bucket, as in Prometheus.
        for seconds in (0.01, 0.02, 60.0, 61.0, -3.0):
            buffer.observe("checkpoint_seconds", seconds, labels=(f"kind {process}",))
        queue.tallies.write(buffer)
        queue.tallies.write(buffer)  # empty now
    found = queue.tallies.read()
    assert found["tuning_steps"] == [Series(labels=(), value=2.0)]
    assert found["tuning_tokens"] == [Series(labels=(), value=84.0)]
    bounds = TALLIES["checkpoint_seconds"].bounds
    assert bounds is not None
    expected = tuple(sum(seconds <= bound for seconds in (0.01, 0.02, 60.0, 61.0, 0.0)) for bound in bounds)
    for process, series in enumerate(found["checkpoint_seconds"]):
        assert series.labels == (f"kind {process}",)
        assert series.counts == (*expected, 5)
        assert series.value == pytest.approx(121.03)
    assert found["harvest_rows"] == []


def test_an_attempt_counts_once_whoever_reports_it(queue: RunQueue) -> None:
    for outcome in ("died", "failed"):
        queue.tallies.end_attempt("r", 1, kind="tune", outcome=outcome, ended=("failed", 90.0))
    queue.tallies.end_attempt("r", 2, kind="map", outcome="released")
    queue.tallies.end_waiting_run(kind="map", status="cancelled")
    found = queue.tallies.read()
    assert {one.labels: one.value for one in found["run_attempts"]} == {("tune", "died"): 1.0, ("map", "released"): 1.0}
    assert {one.labels: one.value for one in found["runs_ended"]} == {
        ("tune", "failed"): 1.0,
        ("map", "cancelled"): 1.0,
    }
    assert [(one.labels, one.value, one.counts[-1]) for one in found["run_seconds"]] == [(("tune",), 90.0, 1.0)]


def test_what_a_lost_redis_did_not_take_is_kept() -> None:
    buffer = TallyBuffer()
    buffer.count("tuning_steps", 3)
    lost = Tallies.at("redis://127.0.0.1:1/0")
    with pytest.raises(Unavailable):
        lost.write(buffer)
    buffer.count("tuning_steps", 4)
    assert sum(buffer.take().values()) == 7
    lost.end_attempt("r", 1, kind="tune", outcome="failed")  # ignored
    lost.end_waiting_run(kind="tune", status="cancelled")


def test_fields_of_other_versions_are_ignored() -> None:
    stored = {
        json.dumps(["unheard_of", [], None]).encode(): b"1",
        json.dumps(["runs_ended", ["one label"], None]).encode(): b"1",
        json.dumps(["checkpoint_seconds", ["tune"], 77.5]).encode(): b"1",
        json.dumps(["checkpoint_seconds", ["tune"], "+Inf"]).encode(): b"2",
    }
    found = parse_tallies(stored)
    assert found["runs_ended"] == []
    assert found["checkpoint_seconds"][0].counts[-1] == 2


def test_seconds_of_a_run_count_from_its_first_start() -> None:
    times = {"started_at": "2026-01-01T00:00:00.000000Z", "ended_at": "2026-01-01T00:01:30.000000Z"}
    assert ended_of(RunState(status="failed", **times)) == ("failed", 90.0)  # type: ignore[arg-type]
    assert ended_of(RunState(status="cancelled", ended_at="2026-01-01T00:01:30.000000Z")) == ("cancelled", None)
    assert ended_of(RunState(status="running", started_at="2026-01-01T00:00:00.000000Z")) is None


def test_the_age_of_the_queue_is_that_of_the_next_run(queue: RunQueue) -> None:
    assert queue.age_s() == 0.0
    queue.enqueue("old", 1)
    queue.enqueue("new", 1)
    job = queue._queue.fetch_job("old_1")
    job.enqueued_at = utc_now() - timedelta(seconds=500)
    job.save()
    assert 500 <= queue.age_s() < 600
    job.enqueued_at = utc_now() + timedelta(seconds=500)  # the clock of another host
    assert waited_s(job) == 0.0
