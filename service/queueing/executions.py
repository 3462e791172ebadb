"""Executions: which process of this host executes which attempt, so that a host notices its own dead workers at once.

Heartbeats reveal a dead worker only after they have expired. On one host, the kernel knows at once. Each worker records its
process before it starts an attempt; every process of the host can then compare the records with the running processes.
Redis may lose the records: the reconciler then recovers the run by its heartbeat.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis

from service.queueing.connections import connect, redis_errors_as_unavailable

_KEEP_S = 7 * 24 * 3600
_PROC = Path("/proc")
_DEAD_STATES = ("Z", "X")


@dataclass(frozen=True, kw_only=True)
class Execution:
    """One attempt and the worker that executes it. started: start time of the process, in clock ticks since boot."""

    run_id: str
    attempt: int
    pid: int
    started: str


class Executions:
    """The executions of this host. Methods may be called from any thread and raise Unavailable if Redis fails.

    Without ``/proc`` nothing is recorded.

    Args:
        connection: of the queue's Redis.
        host: identifies the kernel and the process-id namespace; None if they are unknown.
        start_of: returns the start time of a running process, None if it has ended.
    """

    def __init__(
        self, connection: Redis, *, host: str | None = None, start_of: Callable[[int], str | None] | None = None
    ) -> None:
        self._redis: Any = connection
        self._host = host or host_identity()
        self._start_of = start_of or process_start

    @classmethod
    def at(cls, url: str) -> Executions:
        """Executions in the Redis at ``url``."""
        return cls(connect(url))

    def record(self, run_id: str, attempt: int, *, pid: int) -> None:
        """Record that the process ``pid`` executes an attempt."""
        started = self._start_of(pid)
        if self._host is None or started is None:
            return
        value = json.dumps({"attempt": attempt, "pid": pid, "started": started})
        with redis_errors_as_unavailable():
            pipeline = self._redis.pipeline()
            pipeline.hset(self._key, run_id, value)
            pipeline.expire(self._key, _KEEP_S)
            pipeline.execute()

    def remove(self, run_id: str, attempt: int) -> None:
        """Remove the record of an attempt, unless a later attempt has replaced it."""
        if self._host is None:
            return
        with redis_errors_as_unavailable():
            value = self._redis.hget(self._key, run_id)
            if value is not None and json.loads(value)["attempt"] == attempt:
                self._redis.hdel(self._key, run_id)

    def of_dead_workers(self) -> list[Execution]:
        """The recorded executions whose process has ended."""
        if self._host is None:
            return []
        with redis_errors_as_unavailable():
            found = self._redis.hgetall(self._key)
        executions = [Execution(run_id=run_id.decode(), **json.loads(value)) for run_id, value in found.items()]
        return [execution for execution in executions if self._start_of(execution.pid) != execution.started]

    @property
    def _key(self) -> str:
        return f"promptatlas:executions:{self._host}"


def host_identity() -> str | None:
    """Identity of the running kernel and of this process's process-id namespace; None without ``/proc``.

    Process ids are comparable only within both: containers of one machine may have the same host name.
    """
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{os.stat(_PROC / 'self/ns/pid').st_ino}"
    except OSError:
        return None


def process_start(pid: int) -> str | None:
    """Start time of a process in clock ticks since boot; None if it has ended, even if its parent has not reaped it."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    # The name of the program, in parentheses, may contain spaces and parentheses.
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in _DEAD_STATES else fields[19]
