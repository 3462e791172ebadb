from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from service.errors import Unavailable
from service.queueing.executions import Execution, Executions, host_identity, process_start
from service.queueing.queue import RunQueue
from tests.integration.running import wait_until
from tests.service.queueing.redis_server import RedisServer

pytestmark = pytest.mark.skipif(host_identity() is None, reason="no /proc here")


@pytest.fixture
def executions(queue: RunQueue, redis_server: RedisServer) -> Executions:
    return Executions(redis_server.client)


def test_the_executions_of_ended_processes_are_found(executions: Executions) -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = process_start(child.pid)
    assert started is not None
    executions.record("run-a", 2, pid=child.pid)
    executions.record("run-b", 1, pid=os.getpid())
    assert executions.of_dead_workers() == []
    child.kill()
    # Also while it is a zombie, which its parent has not reaped.
    wait_until(lambda: process_start(child.pid) is None)
    dead = [Execution(run_id="run-a", attempt=2, pid=child.pid, started=started)]
    assert executions.of_dead_workers() == dead
    assert child.wait() == -signal.SIGKILL
    assert executions.of_dead_workers() == dead
    executions.remove("run-a", 1)
    assert executions.of_dead_workers() == dead
    executions.remove("run-a", 2)
    assert executions.of_dead_workers() == []


def test_a_reused_process_id_is_another_process(redis_server: RedisServer, queue: RunQueue) -> None:
    starts = {7: "100"}
    executions = Executions(redis_server.client, start_of=starts.get)
    executions.record("run-a", 1, pid=7)
    starts[7] = "200"
    assert [execution.run_id for execution in executions.of_dead_workers()] == ["run-a"]


def test_processes_of_other_hosts_are_not_judged(redis_server: RedisServer, queue: RunQueue) -> None:
    starts = {7: "100"}
    here, there = (Executions(redis_server.client, host=host, start_of=starts.get) for host in ("here", "there"))
    there.record("run-a", 1, pid=7)
    starts.clear()
    assert here.of_dead_workers() == []
    assert len(there.of_dead_workers()) == 1


def test_the_start_of_this_process_is_constant_and_like_that_of_no_other() -> None:
    assert process_start(os.getpid()) == process_start(os.getpid())
    # Clock ticks since boot, compared with the same in seconds from another file.
    uptime_s = float(Path("/proc/uptime").read_text().split()[0])
    age_s = uptime_s - int(str(process_start(os.getpid()))) / os.sysconf("SC_CLK_TCK")
    assert 0 <= age_s <= uptime_s
    assert process_start(2**22 + 1) is None


def test_without_redis_everything_is_unavailable(tmp_path: Path) -> None:
    lost = Executions(Redis(unix_socket_path=str(tmp_path / "none"), retry=Retry(NoBackoff(), retries=0)))
    for call in (
        lambda: lost.record("run-a", 1, pid=os.getpid()),
        lambda: lost.remove("run-a", 1),
        lost.of_dead_workers,
    ):
        with pytest.raises(Unavailable):
            call()
