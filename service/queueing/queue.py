"""Queue of runs that wait for a worker, and heartbeats of those that are running.

The store is authoritative: Redis may be emptied or replaced at any time, after which the reconciler queues every unfinished
run again. What RQ keeps in Redis is JSON: the name of the function, the id of the run and the number of the attempt.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from redis import Redis
from rq import Queue
from rq.exceptions import DuplicateJobError, NoSuchJobError
from rq.job import Job, JobStatus
from rq.worker_registration import get_keys

from service.queueing.connections import connect, redis_errors_as_unavailable
from service.queueing.intervals import Intervals
from service.queueing.tallies import Tallies
from service.store.artifacts.clock import read_time, utc_now

QUEUE = "promptatlas"
RUN_JOB = "workers.jobs.run"
"""Dotted name of the function that a worker calls with a run's id and attempt number. The service never imports it."""

SERIALIZER = "json"

_PREFIX = "promptatlas"
_KEEP_RESULT_S = 3600
_KEEP_FAILURE_S = 24 * 3600
_KEEP_REASON_S = 24 * 3600
_WORKER_SILENT_S = 40.0
_ACTIVE = (JobStatus.QUEUED, JobStatus.STARTED)


@dataclass(frozen=True, kw_only=True)
class RunCounts:
    """Numbers of queued and running runs, according to the store."""

    n_queued: int
    n_running: int


@dataclass(frozen=True, kw_only=True)
class WorkerPresence:
    """A worker with a recent heartbeat, on any host. pid: on its host; None if it is unknown."""

    name: str
    hostname: str
    busy: bool
    pid: int | None = None


class RunQueue:
    """Runs by id and attempt number. Methods block, may be called from any thread, and raise Unavailable if Redis fails."""

    def __init__(self, connection: Redis, *, timing: Intervals) -> None:
        self._redis: Any = connection  # its results are typed for both the blocking and the asynchronous client
        self._timing = timing
        self._queue = Queue(QUEUE, connection=connection, serializer=SERIALIZER)

    @classmethod
    def at(cls, url: str, *, timing: Intervals | None = None) -> RunQueue:
        """The queue in the Redis at ``url``."""
        return cls(connect(url), timing=timing or Intervals())

    @property
    def timing(self) -> Intervals:
        """The intervals of all processes that use this queue."""
        return self._timing

    @property
    def tallies(self) -> Tallies:
        """The workers' tallies, in the same Redis."""
        return Tallies(self._redis)

    def ping(self) -> None:
        """Raise Unavailable unless Redis answers."""
        with redis_errors_as_unavailable():
            self._redis.ping()

    def enqueue(self, run_id: str, attempt: int) -> None:
        """Queue a run for this attempt; does nothing if it is queued or running for this attempt already."""
        with redis_errors_as_unavailable():
            job = self._job(run_id, attempt)
            if job is None or job.get_status(refresh=False) not in _ACTIVE:
                self._put(run_id, attempt, stale=job)

    def requeue(self, run_id: str, attempt: int) -> None:
        """Queue a run even if Redis has a job for it, which no worker takes any more."""
        with redis_errors_as_unavailable():
            self._put(run_id, attempt, stale=self._job(run_id, attempt))

    def has_job(self, run_id: str, attempt: int) -> bool:
        """Whether Redis has a job, waiting or not, for this attempt."""
        with redis_errors_as_unavailable():
            return self._job(run_id, attempt) is not None

    def positions(self) -> Mapping[str, int]:
        """For each queued run, the number of runs before it."""
        with redis_errors_as_unavailable():
            job_ids = self._queue.get_job_ids()
        return {_run_of(job_id): place for place, job_id in reversed(list(enumerate(job_ids)))}

    def position(self, run_id: str) -> int | None:
        """The number of runs before this one; None if it is not queued."""
        return self.positions().get(run_id)

    def age_s(self) -> float:
        """Seconds that the next run has waited; 0 if none waits."""
        with redis_errors_as_unavailable():
            first = self._queue.get_job_ids(0, 1)
            job = self._queue.fetch_job(first[0]) if first else None
        return 0.0 if job is None else waited_s(job)

    def discard(self, run_id: str) -> None:
        """Remove a run from the queue, if it is queued."""
        with redis_errors_as_unavailable():
            for job_id in self._queue.get_job_ids():
                if _run_of(job_id) == run_id:
                    self._delete(job_id)

    def set_heartbeat(self, run_id: str, attempt: int) -> None:
        """Record that a run is being executed; expires after ``alive_s``."""
        with redis_errors_as_unavailable():
            self._redis.set(_key("alive", run_id), attempt, px=_ms(self._timing.alive_s))

    def has_heartbeat(self, run_id: str) -> bool:
        """Whether a heartbeat was recorded within ``alive_s``."""
        with redis_errors_as_unavailable():
            return bool(self._redis.exists(_key("alive", run_id)))

    def alive(self, run_ids: Sequence[str]) -> set[str]:
        """Those of ``run_ids`` with a heartbeat."""
        return self._present("alive", run_ids)

    def clear_heartbeat(self, run_id: str, attempt: int) -> None:
        """Remove the heartbeat of an attempt that no worker executes any more."""
        key = _key("alive", run_id)
        with redis_errors_as_unavailable():
            if self._redis.get(key) == str(attempt).encode():
                self._redis.delete(key)

    def count_missing(self, run_id: str, *, lifetime_s: float) -> int:
        """Record that a run is neither queued nor alive; returns how often in a row that was recorded.

        Args:
            run_id: of the run.
            lifetime_s: after which the count expires, unless the run is recorded again.
        """
        key = _key("missing", run_id)
        with redis_errors_as_unavailable():
            pipeline = self._redis.pipeline()
            pipeline.incr(key)
            pipeline.pexpire(key, _ms(lifetime_s))
            return int(pipeline.execute()[0])

    def missing(self, run_ids: Sequence[str]) -> set[str]:
        """Those of ``run_ids`` that :meth:`count_missing` has recorded."""
        return self._present("missing", run_ids)

    def reset_missing(self, run_ids: Collection[str]) -> None:
        """Reset the counts of :meth:`count_missing`."""
        if run_ids:
            with redis_errors_as_unavailable():
                self._redis.delete(*[_key("missing", run_id) for run_id in run_ids])

    def store_failure_reason(self, run_id: str, attempt: int, reason: str) -> None:
        """Keep the reason why an attempt failed, for a worker that cannot write it to the store."""
        with redis_errors_as_unavailable():
            self._redis.set(_key("words", run_id, attempt), reason, ex=_KEEP_REASON_S)

    def failure_reason(self, run_id: str, attempt: int) -> str | None:
        """The reason that :meth:`store_failure_reason` has kept for this attempt, None without one."""
        with redis_errors_as_unavailable():
            reason = self._redis.get(_key("words", run_id, attempt))
        return None if reason is None else reason.decode()

    def acquire_turn(self) -> bool:
        """Whether the caller reconciles now; true for one of all processes.

        The turn lasts until :meth:`end_turn`; the turn of a process that dies, three intervals.
        """
        with redis_errors_as_unavailable():
            return bool(self._redis.set(_key("turn"), 1, nx=True, px=_ms(3 * self._timing.reconcile_s)))

    def renew_turn(self) -> None:
        """Extend the turn of the caller."""
        with redis_errors_as_unavailable():
            self._redis.set(_key("turn"), 1, px=_ms(3 * self._timing.reconcile_s))

    def end_turn(self, *, after_s: float) -> None:
        """Let another process take the next turn, at the end of this interval. after_s: duration of the turn."""
        with redis_errors_as_unavailable():
            self._redis.pexpire(_key("turn"), _ms(0.9 * self._timing.reconcile_s - after_s))

    def store_counts(self, counts: RunCounts, *, lifetime_s: float) -> None:
        """Publish the numbers of runs; they expire after ``lifetime_s``."""
        with redis_errors_as_unavailable():
            self._redis.set(_key("census"), json.dumps(asdict(counts)), px=_ms(lifetime_s))

    def counts(self) -> RunCounts | None:
        """The last published numbers of runs, None if there are no recent ones."""
        with redis_errors_as_unavailable():
            data = self._redis.get(_key("census"))
        return None if data is None else RunCounts(**json.loads(data))

    def workers(self) -> list[WorkerPresence]:
        """Workers with a recent heartbeat."""
        with redis_errors_as_unavailable():
            keys = sorted(get_keys(queue=self._queue))
            pipeline = self._redis.pipeline()
            for key in keys:
                pipeline.hgetall(key)
            found = pipeline.execute()
        oldest = utc_now() - timedelta(seconds=_WORKER_SILENT_S)
        return [_presence(key, fields) for key, fields in zip(keys, found, strict=True) if _is_alive(fields, oldest)]

    def _present(self, word: str, run_ids: Sequence[str]) -> set[str]:
        if not run_ids:
            return set()
        with redis_errors_as_unavailable():
            values = self._redis.mget([_key(word, run_id) for run_id in run_ids])
        return {run_id for run_id, value in zip(run_ids, values, strict=True) if value is not None}

    def _put(self, run_id: str, attempt: int, *, stale: Job | None) -> None:
        if stale is not None:
            stale.delete()
        try:
            self._queue.enqueue(
                RUN_JOB,
                run_id,
                attempt,
                job_id=_job_id(run_id, attempt),
                job_timeout=-1,
                result_ttl=_KEEP_RESULT_S,
                failure_ttl=_KEEP_FAILURE_S,
                unique=True,
            )
        except DuplicateJobError:
            return  # another process has queued it

    def _job(self, run_id: str, attempt: int) -> Job | None:
        return self._queue.fetch_job(_job_id(run_id, attempt))

    def _delete(self, job_id: str) -> None:
        try:
            Job.fetch(job_id, connection=self._redis, serializer=SERIALIZER).delete()
        except NoSuchJobError:
            self._queue.remove(job_id)


def waited_s(job: Job) -> float:
    """Seconds since a job was queued, at least 0: the clocks of hosts differ."""
    queued_at: datetime | None = job.enqueued_at
    return 0.0 if queued_at is None else max(0.0, (utc_now() - queued_at).total_seconds())


def _job_id(run_id: str, attempt: int) -> str:
    return f"{run_id}_{attempt}"


def _run_of(job_id: str) -> str:
    return job_id.rpartition("_")[0]


def _key(*words: object) -> str:
    return ":".join([_PREFIX, *map(str, words)])


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))


def _is_alive(fields: Mapping[bytes, bytes], oldest: datetime) -> bool:
    beat = fields.get(b"last_heartbeat")
    if beat is None or b"death" in fields or b"birth" not in fields:
        return False
    return read_time(beat.decode()) >= oldest


def _presence(key: str, fields: Mapping[bytes, bytes]) -> WorkerPresence:
    return WorkerPresence(
        name=key.rpartition(":")[2],
        hostname=fields.get(b"hostname", b"").decode(),
        busy=fields.get(b"state") == b"busy",
        pid=int(pid) if (pid := fields.get(b"pid")) else None,
    )
