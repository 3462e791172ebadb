"""Asking workers that have nothing to do to help with a run, and agreeing who of them does which part of it.

Helpers stand in a line of their own, which workers look at only when no run waits. As with the other line, Redis holds
nothing that must not be lost: a forgotten request is made again, a forgotten lease means that a part is done twice.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from redis import Redis
from rq import Queue

from service.queueing.connections import connect, reported
from service.queueing.intervals import Intervals
from service.queueing.queue import SERIALIZER, RunQueue

HELP_QUEUE = "promptatlas-help"
HELP_JOB = "workers.jobs.help_run"
"""Dotted name of what a worker calls with the id of a run that it is to help with."""

_PREFIX = "promptatlas"
_ASKED = f"{_PREFIX}:asked"
_WAIT_S = 60
_DECLINED_S = 300
_KEEP_FAILURE_S = 3600


class HelpLine:
    """Requests for help with runs. All methods raise Unavailable when Redis cannot be reached; safe between threads."""

    def __init__(self, connection: Redis, *, timing: Intervals) -> None:
        self._redis: Any = connection
        self._runs = RunQueue(connection, timing=timing)
        self._queue = Queue(HELP_QUEUE, connection=connection, serializer=SERIALIZER)
        self._pause_ms = max(1, int(timing.reconcile_s * 1000))

    def ask(self, run_id: str, *, n: int) -> int:
        """Ask ``n`` workers, but no more than there are idle ones; how many were asked.

        Nobody is asked while runs wait for a worker, while an earlier request waits or was made a moment ago (who follows it
        still seems idle), or after help was declined.
        """
        with reported():
            if n < 1 or self._redis.exists(_declined(run_id)) or self._queue.get_job_ids(0, 1):
                return 0
        if self._runs.positions():
            return 0
        n_idle = sum(not worker.busy for worker in self._runs.workers())
        with reported():
            if n_idle == 0 or not self._redis.set(_ASKED, run_id, nx=True, px=self._pause_ms):
                return 0
            for _ in range(min(n, n_idle)):
                self._queue.enqueue(
                    HELP_JOB,
                    run_id,
                    job_id=f"{run_id}_help_{secrets.token_hex(4)}",
                    job_timeout=-1,
                    ttl=_WAIT_S,
                    result_ttl=0,
                    failure_ttl=_KEEP_FAILURE_S,
                )
        return min(n, n_idle)

    def withdraw(self, run_id: str) -> None:
        """Take back the requests that nobody has followed yet."""
        with reported():
            for job_id in self._queue.get_job_ids():
                if job_id.startswith(f"{run_id}_help_"):
                    self._queue.remove(job_id)

    def decline(self, run_id: str) -> None:
        """Help with this run has come to nothing: ask nobody for some minutes, and who was asked already need not come."""
        with reported():
            self._redis.set(_declined(run_id), 1, ex=_DECLINED_S)
        self.withdraw(run_id)

    def runs_wait(self) -> bool:
        """Whether a run waits for a worker, so that helpers should make room."""
        return bool(self._runs.positions())


class Leases:
    """Who has which part of a run: each part at most one holder, until it gives it back or is not heard of any more.

    Args:
        run_id: of the run.
        timing: a lease counts for ``alive_s`` after it was last renewed.
    """

    def __init__(self, connection: Redis, *, run_id: str, timing: Intervals) -> None:
        self._redis: Any = connection
        self._run_id = run_id
        self._token = secrets.token_hex(8).encode()
        self._expires_ms = max(1, int(timing.alive_s * 1000))

    @classmethod
    def at(cls, url: str, *, run_id: str, timing: Intervals) -> Leases:
        """Leases in the Redis at ``url``."""
        return cls(connect(url), run_id=run_id, timing=timing)

    def take(self, part: str) -> bool:
        """Have a part, or have it still; False when another has it."""
        key = self._key(part)
        with reported():
            taken = self._redis.set(key, self._token, nx=True, px=self._expires_ms)
            return bool(taken) or self._redis.get(key) == self._token

    def renew(self, part: str) -> None:
        """Show that its holder lives. Nothing happens when another has it by now."""
        if self.take(part):
            with reported():
                self._redis.pexpire(self._key(part), self._expires_ms)

    def give_back(self, part: str) -> None:
        """Leave a part to others; fine if it is not held."""
        key = self._key(part)
        with reported():
            if self._redis.get(key) == self._token:
                self._redis.delete(key)

    def free(self, parts: Sequence[str]) -> list[str]:
        """Those of ``parts`` that nobody has."""
        if not parts:
            return []
        with reported():
            holders = self._redis.mget([self._key(part) for part in parts])
        return [part for part, holder in zip(parts, holders, strict=True) if holder is None]

    def _key(self, part: str) -> str:
        return f"{_PREFIX}:part:{self._run_id}:{part}"


def _declined(run_id: str) -> str:
    return f"{_PREFIX}:declined:{run_id}"
