"""Runs on real workers end correctly, also when processes are killed."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from redis import Redis

from service.hosting.processes.threads import ThreadPlan
from service.queueing.queue import QUEUE
from service.settings import Settings
from tests.integration.running import children_of, is_alive, wait_until
from tests.workers.running.yard import Yard, reported_steps


def test_a_run_succeeds_and_reports_events(busy_yard: Yard) -> None:
    run_id = busy_yard.count(steps=20)
    state = busy_yard.wait_for_end(run_id)
    assert (state.status, state.attempts, state.metrics) == ("succeeded", 1, {"total": 20.0})
    assert (state.progress.step, state.progress.total, state.progress.eta_s) == (20, 20, 0.0)
    assert reported_steps(busy_yard, run_id) == list(range(1, 21))
    assert busy_yard.runs.read_output(run_id, "total.txt") == b"20"
    events = busy_yard.runs.events(run_id)
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    assert events[-1].type == "done"
    # Sixty events in over half a second are stored in batches of a tenth of a second, not one by one.
    foretold = [event.data["progress"]["eta_s"] for event in events if event.type == "status"]
    assert any(eta_s is not None and 0 < eta_s < 5 for eta_s in foretold)
    assert len(foretold) < 20


def test_a_run_has_a_lower_priority_a_session_and_threads_of_its_own(busy_yard: Yard) -> None:
    run_id = busy_yard.count(steps=30)
    busy_yard.wait_for_steps(run_id, 1)
    horse = busy_yard.horse_of(run_id)
    worker = busy_yard.families[0].worker_of(horse)
    environ = dict(item.split("=", 1) for item in Path(f"/proc/{horse}/environ").read_text().split("\0") if item)
    plan = ThreadPlan.of(Settings(workers=2), n_cores=1)
    lowered = os.getpriority(os.PRIO_PROCESS, horse) - os.getpriority(os.PRIO_PROCESS, worker)
    assert lowered == plan.worker_nice > 0
    assert os.getsid(horse) == horse
    assert environ["OMP_NUM_THREADS"] == "1"  # as the tests set it
    assert int(environ["RAYON_NUM_THREADS"]) >= 1
    busy_yard.wait_for_end(run_id)


def test_after_a_killed_work_horse_the_run_continues_from_its_checkpoint(busy_yard: Yard) -> None:
    run_id = busy_yard.count(steps=30)
    busy_yard.wait_for_steps(run_id, 12)
    os.kill(busy_yard.horse_of(run_id), signal.SIGKILL)
    _assert_went_on(busy_yard, run_id, n_steps=30)


def test_a_killed_worker_ends_its_work_horse_and_another_continues(busy_yard: Yard) -> None:
    run_id = busy_yard.count(steps=30)
    busy_yard.wait_for_steps(run_id, 12)
    horse = busy_yard.horse_of(run_id)
    worker = busy_yard.families[0].worker_of(horse)
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: not is_alive(horse))
    _assert_went_on(busy_yard, run_id, n_steps=30)


def _assert_went_on(yard: Yard, run_id: str, *, n_steps: int) -> None:
    state = yard.wait_for_end(run_id)
    assert (state.status, state.attempts, state.n_deaths) == ("succeeded", 2, 1)
    steps = yard.steps(run_id)
    first = [step for attempt, step in steps if attempt == 1]
    second = [step for attempt, step in steps if attempt == 2]
    # In order, and repeated only since the last checkpoint, of which there is one every five steps.
    assert steps == [(1, step) for step in first] + [(2, step) for step in second]
    assert second == list(range(second[0], n_steps))
    assert second[0] % 5 == 0
    assert 0 <= first[-1] + 1 - second[0] <= 5
    # Points that were reported again are not in the curve twice.
    told = reported_steps(yard, run_id)
    assert len(told) == len(set(told))


def test_a_run_whose_worker_always_dies_fails_with_the_reason(busy_yard: Yard) -> None:
    run_id = busy_yard.submit("deadly")
    state = busy_yard.wait_for_end(run_id)
    assert (state.status, state.attempts) == ("failed", 3)
    assert state.error is not None
    assert "SIGKILL" in state.error
    assert len(busy_yard.diary(run_id)) == 3


def test_a_run_queued_several_times_is_executed_once(busy_yard: Yard) -> None:
    run_id = busy_yard.count(steps=15)
    client: Redis = busy_yard.redis.client
    for _ in range(4):
        client.rpush(f"rq:queue:{QUEUE}", f"{run_id}_1")
    after = busy_yard.count(steps=1)
    assert busy_yard.wait_for_end(run_id).attempts == 1
    assert busy_yard.wait_for_end(after).attempts == 1
    assert busy_yard.steps(run_id) == [(1, step) for step in range(15)]


def test_cancel_stops_a_run_at_its_next_check_with_a_last_checkpoint(busy_yard: Yard) -> None:
    run_id = busy_yard.count(steps=10_000, step_s=0.01, every=20_000)
    busy_yard.wait_for_steps(run_id, 5)
    busy_yard.runs.request_cancel(run_id)
    state = busy_yard.wait_for_end(run_id)
    assert (state.status, state.attempts, state.has_checkpoint) == ("cancelled", 1, True)
    assert busy_yard.diary(run_id)[-1][0] == "stopped"

    stopped_at = int(busy_yard.diary(run_id)[-1][1])
    resumed = busy_yard.runs.resume(run_id)
    busy_yard.queue.enqueue(run_id, resumed.attempts + 1)
    busy_yard.wait_for_steps(run_id, stopped_at + 3)
    assert busy_yard.diary(run_id)[stopped_at + 2][:4] == ["begun", str(stopped_at), "attempt", "2"]
    busy_yard.runs.request_cancel(run_id)
    busy_yard.wait_for_end(run_id)


def test_cancel_kills_a_run_that_does_not_stop(busy_yard: Yard) -> None:
    run_id = busy_yard.submit("deaf")
    wait_until(lambda: busy_yard.diary(run_id))
    horse = busy_yard.horse_of(run_id)
    busy_yard.runs.request_cancel(run_id)
    state = busy_yard.wait_for_end(run_id)
    assert (state.status, state.attempts, state.has_checkpoint) == ("cancelled", 1, True)
    wait_until(lambda: not is_alive(horse))


def test_a_full_disk_fails_the_run_and_keeps_the_checkpoint(busy_yard: Yard) -> None:
    run_id = busy_yard.submit("crowded")
    state = busy_yard.wait_for_end(run_id)
    assert (state.status, state.attempts, state.has_checkpoint) == ("failed", 1, True)
    assert state.error == "The store could not be written: File too large."
    writer = busy_yard.runs
    writer.resume(run_id)
    assert busy_yard.runs.claim(run_id, worker="test").load_checkpoint() == {"state.bin": b"small"}


def test_errors_of_the_work_become_sentences(busy_yard: Yard) -> None:
    broken, greedy, unknown = (busy_yard.submit(kind) for kind in ("broken", "greedy", "unheard-of"))
    assert busy_yard.wait_for_end(broken).error == "The work failed unexpectedly: KeyError: 'no such thing'"
    assert busy_yard.wait_for_end(greedy).error == "Not enough memory."
    assert "unheard-of" in str(busy_yard.wait_for_end(unknown).error)
    assert {busy_yard.state(run_id).attempts for run_id in (broken, greedy, unknown)} == {1}


def test_workers_are_light_and_known(busy_yard: Yard) -> None:
    family = busy_yard.families[0]
    wait_until(lambda: len(busy_yard.queue.workers()) == 2)
    for pid in [family.process.pid, *children_of(family.process.pid)]:
        with open(f"/proc/{pid}/maps") as maps:
            assert "torch" not in maps.read()


def test_a_frozen_run_is_replaced_and_cannot_write_afterwards(busy_yard: Yard) -> None:
    run_id = busy_yard.count(steps=60, step_s=0.03)
    busy_yard.wait_for_steps(run_id, 7)
    horse = busy_yard.horse_of(run_id)
    worker = busy_yard.families[0].worker_of(horse)
    for pid in (worker, horse):
        os.kill(pid, signal.SIGSTOP)
    try:
        busy_yard.wait(run_id, lambda state: state.attempts == 2)
    finally:
        for pid in (horse, worker):
            os.kill(pid, signal.SIGCONT)
    state = busy_yard.wait_for_end(run_id)
    assert (state.status, state.attempts) == ("succeeded", 2)
    wait_until(lambda: not is_alive(horse))
    told = reported_steps(busy_yard, run_id)
    assert told == sorted(set(told))
