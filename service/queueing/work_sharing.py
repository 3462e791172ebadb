"""Work sharing: requests for idle workers to help with a run, and leases of the run's parts.

Requests for help have a queue of their own, which workers read only when no run waits. Redis holds nothing that must not be
lost: a lost request is repeated, and a lost lease means that a part is computed twice.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from redis import Redis
from redis.exceptions import LockError
from redis.lock import Lock
from rq import Queue

from service.queueing.connections import connect, redis_errors_as_unavailable
from service.queueing.intervals import Intervals
from service.queueing.queue import SERIALIZER, RunQueue

HELP_QUEUE = "promptatlas-help"
HELP_JOB = "workers.jobs.help_run"
"""Dotted name of the function that a worker calls with the id of the run to help with."""

_PREFIX = "promptatlas"
_REQUESTED = f"{_PREFIX}:asked"
_WAIT_S = 60
_DECLINED_S = 300
_KEEP_FAILURE_S = 3600


class HelpQueue:
    """Requests for help with runs. Methods may be called from any thread and raise Unavailable if Redis fails."""

    def __init__(self, connection: Redis, *, timing: Intervals) -> None:
        self._redis: Any = connection
        self._runs = RunQueue(connection, timing=timing)
        self._queue = Queue(HELP_QUEUE, connection=connection, serializer=SERIALIZER)
        self._pause_ms = max(1, int(timing.reconcile_s * 1000))

    def request(self, run_id: str, *, n: int) -> int:
        """Request up to ``n`` idle workers as helpers; returns how many were requested.

        Nothing is requested while runs wait for a worker, while an earlier request waits or is very recent (a worker that has
        accepted it still appears idle), or for some minutes after help was declined.
        """
        with redis_errors_as_unavailable():
            if n < 1 or self._redis.exists(_declined(run_id)) or self._queue.get_job_ids(0, 1):
                return 0
        if self._runs.positions():
            return 0
        n_idle = sum(not worker.busy for worker in self._runs.workers())
        with redis_errors_as_unavailable():
            if n_idle == 0 or not self._redis.set(_REQUESTED, run_id, nx=True, px=self._pause_ms):
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
        """Withdraw the requests that no worker has accepted."""
        with redis_errors_as_unavailable():
            for job_id in self._queue.get_job_ids():
                if job_id.startswith(f"{run_id}_help_"):
                    self._queue.remove(job_id)

    def decline(self, run_id: str) -> None:
        """Record that help with this run has failed: withdraw its requests, and request no helpers for some minutes."""
        with redis_errors_as_unavailable():
            self._redis.set(_declined(run_id), 1, ex=_DECLINED_S)
        self.withdraw(run_id)

    def has_waiting_runs(self) -> bool:
        """Whether a run waits for a worker."""
        return bool(self._runs.positions())


class Leases:
    """Leases of the parts of a run. Each part has at most one holder, until the lease is released or expires.

    Args:
        run_id: of the run.
        timing: a lease expires ``alive_s`` after its last renewal.
    """

    def __init__(self, connection: Redis, *, run_id: str, timing: Intervals) -> None:
        self._redis: Any = connection
        self._run_id = run_id
        self._expires_s = max(0.001, timing.alive_s)
        self._locks: dict[str, Lock] = {}

    @classmethod
    def at(cls, url: str, *, run_id: str, timing: Intervals) -> Leases:
        """Leases in the Redis at ``url``."""
        return cls(connect(url), run_id=run_id, timing=timing)

    def acquire(self, part: str) -> bool:
        """Lease a part; True also if this object holds it already, False if another does."""
        lock = self._lock(part)
        with redis_errors_as_unavailable():
            return lock.acquire(blocking=False) or lock.owned()

    def renew(self, part: str) -> None:
        """Renew the lease of a part, unless another holder has acquired it. A lease that Redis has lost is created again."""
        lock = self._lock(part)
        with redis_errors_as_unavailable():
            try:
                lock.reacquire()
            except LockError:
                lock.acquire(blocking=False)

    def release(self, part: str) -> None:
        """Release a part, if this object holds it."""
        with redis_errors_as_unavailable(), suppress(LockError):
            self._lock(part).release()

    def available(self, parts: Sequence[str]) -> list[str]:
        """Those of ``parts`` that are not leased."""
        if not parts:
            return []
        with redis_errors_as_unavailable():
            holders = self._redis.mget([self._key(part) for part in parts])
        return [part for part, holder in zip(parts, holders, strict=True) if holder is None]

    def _lock(self, part: str) -> Lock:
        if part not in self._locks:
            # Leases are renewed from another thread than the one that acquires them.
            self._locks[part] = Lock(self._redis, self._key(part), timeout=self._expires_s, thread_local=False)
        return self._locks[part]

    def _key(self, part: str) -> str:
        return f"{_PREFIX}:part:{self._run_id}:{part}"


def _declined(run_id: str) -> str:
    return f"{_PREFIX}:declined:{run_id}"
