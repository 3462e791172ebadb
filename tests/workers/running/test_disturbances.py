"""Failures: worker trees stop or die, Redis is killed or emptied, hosts share only Redis and a bucket."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from service.queueing.intervals import Intervals
from tests.integration.running import free_port, is_alive, wait_until
from tests.workers.running.yard import Yard


def test_redis_may_be_emptied_or_killed_without_a_run_being_lost_or_repeated(yard: Yard) -> None:
    yard.start_workers(1)
    finished = yard.count(steps=2)
    before = yard.wait_for_end(finished)
    running = yard.count(steps=120, step_s=0.03)
    waiting = yard.count(steps=3)
    yard.wait_for_steps(running, 5)
    yard.redis.client.flushall()
    yard.wait_for_steps(running, 40)
    yard.redis.kill()
    yard.wait_for_steps(running, 60)
    yard.redis.start()
    assert yard.wait_for_end(running).attempts == 1
    assert yard.wait_for_end(waiting).attempts == 1
    assert yard.steps(running) == [(1, step) for step in range(120)]
    assert yard.steps(waiting) == [(1, step) for step in range(3)]
    assert yard.state(finished) == before
    wait_until(lambda: len(yard.queue.workers()) == 1)


def test_stopped_workers_save_and_release_their_runs(yard: Yard) -> None:
    first = yard.start_workers(1)
    run_id = yard.count(steps=60, step_s=0.03, every=1000)
    yard.wait_for_steps(run_id, 5)
    family = first.everyone
    assert len(family) == 4
    assert first.stop() == 0
    wait_until(lambda: not any(is_alive(pid) for pid in family))
    state = yard.state(run_id)
    assert (state.status, state.attempts, state.n_deaths, state.has_checkpoint) == ("queued", 1, 0, True)
    assert yard.queue.position(run_id) == 0

    yard.start_workers(1)
    state = yard.wait_for_end(run_id)
    assert (state.status, state.attempts, state.n_deaths) == ("succeeded", 2, 0)
    assert [step for _, step in yard.steps(run_id)] == list(range(60))


def test_a_killed_main_process_leaves_no_process_behind(yard: Yard) -> None:
    family = yard.start_workers(1)
    run_id = yard.submit("deaf")
    wait_until(lambda: yard.diary(run_id), why=yard.logs)
    everyone = family.everyone
    assert len(everyone) == 4
    family.stop(signal.SIGKILL)
    wait_until(lambda: not any(is_alive(pid) for pid in everyone))


def test_with_default_intervals_a_run_continues_within_half_a_minute(yard: Yard) -> None:
    first = yard.start_workers(1, timing=Intervals())
    run_id = yard.count(steps=100_000, step_s=0.05)
    yard.wait_for_steps(run_id, 6)
    second = yard.start_workers(1, timing=Intervals())
    wait_until(lambda: len(yard.queue.workers()) == 2)
    first.stop(signal.SIGKILL)
    killed_s = time.monotonic()
    yard.wait(run_id, lambda state: state.attempts == 2 and state.status == "running")
    assert time.monotonic() - killed_s < 30  # documented

    asked_s = time.monotonic()
    yard.runs.request_cancel(run_id)
    assert yard.wait_for_end(run_id).status == "cancelled"
    assert time.monotonic() - asked_s < 5  # documented; usually 1
    assert second.stop() == 0


HOUR_S = 3600.0
PATIENT = Intervals(alive_s=HOUR_S, reconcile_s=HOUR_S, look_s=HOUR_S)
"""No heartbeat expires and no check is repeated within a test."""


def test_a_killed_worker_is_replaced_at_once_by_its_main_process(yard: Yard) -> None:
    workers = yard.start_workers(1, timing=PATIENT)
    run_id = yard.count(steps=30)
    yard.wait_for_steps(run_id, 12)
    os.kill(workers.worker_of(yard.horse_of(run_id)), signal.SIGKILL)
    state = yard.wait_for_end(run_id)
    assert (state.status, state.attempts, state.n_deaths) == ("succeeded", 2, 1)


def test_runs_of_a_killed_main_process_continue_as_soon_as_it_is_started_again(yard: Yard) -> None:
    killed = yard.start_workers(1, timing=PATIENT)
    run_id = yard.count(steps=30)
    yard.wait_for_steps(run_id, 12)
    everyone = killed.everyone
    killed.stop(signal.SIGKILL)
    wait_until(lambda: not any(is_alive(pid) for pid in everyone))
    yard.start_workers(1, timing=PATIENT)
    state = yard.wait_for_end(run_id)
    assert (state.status, state.attempts, state.n_deaths) == ("succeeded", 2, 1)


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of a store on an S3 server whose address is in the environment."""
    pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _can_make_bucket("atlas"))
        yield "s3://atlas/store"
    finally:
        server.kill()
        server.wait()


def _can_make_bucket(name: str) -> bool:
    import s3fs

    try:
        s3fs.S3FileSystem(skip_instance_cache=True).mkdir(name)
    except OSError:
        return False
    return True


def test_hosts_share_only_redis_and_a_bucket(yard: Yard, bucket: str, tmp_path: Path) -> None:
    yard.use_store(bucket)
    # The S3 server runs on the same machine, so it gets fewer requests.
    timing = replace(yard.timing, flush_s=0.5, look_s=0.5)
    first = yard.start_workers(1, timing=timing, host=tmp_path / "one")
    run_id = yard.count(steps=60, step_s=0.05)
    yard.wait_for_steps(run_id, 8)
    yard.start_workers(1, timing=timing, host=tmp_path / "two")
    wait_until(lambda: len(yard.queue.workers()) == 2)
    first.stop(signal.SIGKILL)
    state = yard.wait_for_end(run_id)
    assert (state.status, state.attempts) == ("succeeded", 2)
    assert yard.runs.read_output(run_id, "total.txt") == b"60"
    done = [step for attempt, step in yard.steps(run_id) if attempt == 2]
    assert done == list(range(done[0], 60))
    assert done[0] >= 5
    assert not list(tmp_path.rglob("events"))  # no host has files of the store
