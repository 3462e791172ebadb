"""The line in which runs wait for a worker, and the signs of life of those that have one.

Redis holds nothing that the store does not know better: it may be emptied or replaced at any time, after which the
reconciler puts every unfinished run back in line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from redis import Redis
from rq import Queue
from rq.exceptions import DuplicateJobError, NoSuchJobError
from rq.job import Job, JobStatus
from rq.worker_registration import get_keys

from service.queueing.connections import connect, reported
from service.queueing.intervals import Intervals
from service.store.artifacts.clock import read_time, utc_now

QUEUE = "promptatlas"
RUN_JOB = "workers.jobs.run"
"""Dotted name of what a worker calls with a run's id and the number of the attempt. The service never imports it."""

SERIALIZER = "json"

_PREFIX = "promptatlas"
_KEEP_RESULT_S = 3600
_KEEP_FAILURE_S = 24 * 3600
_KEEP_WORDS_S = 24 * 3600
_WORKER_SILENT_S = 40.0
_ACTIVE = (JobStatus.QUEUED, JobStatus.STARTED)


@dataclass(frozen=True, kw_only=True)
class Census:
    """How many runs wait and run, as the store has it."""

    n_queued: int
    n_running: int


@dataclass(frozen=True, kw_only=True)
class WorkerPresence:
    """A worker that has shown itself lately, on any host."""

    name: str
    hostname: str
    busy: bool


class RunQueue:
    """Runs by id and attempt. All methods raise Unavailable when Redis cannot be reached; blocking, safe between threads."""

    def __init__(self, connection: Redis, *, timing: Intervals) -> None:
        self._redis: Any = connection  # its answers are typed for both the blocking and the asynchronous client
        self._timing = timing
        self._queue = Queue(QUEUE, connection=connection, serializer=SERIALIZER)

    @classmethod
    def at(cls, url: str, *, timing: Intervals | None = None) -> RunQueue:
        """The queue in the Redis at ``url``."""
        return cls(connect(url), timing=timing or Intervals())

    @property
    def timing(self) -> Intervals:
        """The pace that all who share this queue should keep."""
        return self._timing

    def ping(self) -> None:
        """Raise Unavailable unless Redis answers."""
        with reported():
            self._redis.ping()

    def enqueue(self, run_id: str, attempt: int) -> None:
        """Put a run in line for this attempt, once: nothing happens if it waits or is worked on as such already."""
        with reported():
            job = self._job(run_id, attempt)
            if job is None or job.get_status(refresh=False) not in _ACTIVE:
                self._put(run_id, attempt, stale=job)

    def enqueue_again(self, run_id: str, attempt: int) -> None:
        """Put a run in line although Redis believes that it has a place, which nobody comes for any more."""
        with reported():
            self._put(run_id, attempt, stale=self._job(run_id, attempt))

    def knows(self, run_id: str, attempt: int) -> bool:
        """Whether the run was ever put in line for this attempt, as far as Redis remembers."""
        with reported():
            return self._job(run_id, attempt) is not None

    def positions(self) -> Mapping[str, int]:
        """For each run in line, how many are before it."""
        with reported():
            job_ids = self._queue.get_job_ids()
        return {_run_of(job_id): place for place, job_id in reversed(list(enumerate(job_ids)))}

    def position(self, run_id: str) -> int | None:
        """How many runs are before it in line; None when it is not in line."""
        return self.positions().get(run_id)

    def discard(self, run_id: str) -> None:
        """Take a run out of the line; fine if it is not in it."""
        with reported():
            for job_id in self._queue.get_job_ids():
                if _run_of(job_id) == run_id:
                    self._delete(job_id)

    def note_alive(self, run_id: str, attempt: int) -> None:
        """Give a sign of life of a run that is worked on; it counts for ``alive_s``."""
        with reported():
            self._redis.set(_key("alive", run_id), attempt, px=_ms(self._timing.alive_s))

    def alive(self, run_id: str) -> bool:
        """Whether there was a sign of life lately."""
        with reported():
            return bool(self._redis.exists(_key("alive", run_id)))

    def note_gone(self, run_id: str, attempt: int) -> None:
        """Withdraw the last sign of life, once nobody works on this attempt any more."""
        key = _key("alive", run_id)
        with reported():
            if self._redis.get(key) == str(attempt).encode():
                self._redis.delete(key)

    def suspect(self, run_id: str) -> int:
        """Note that a run is not where it should be; how often in a row that was noted by now."""
        key = _key("missing", run_id)
        with reported():
            pipeline = self._redis.pipeline()
            pipeline.incr(key)
            pipeline.pexpire(key, _ms(3 * self._timing.reconcile_s))
            return int(pipeline.execute()[0])

    def trust(self, run_id: str) -> None:
        """Forget suspicions."""
        with reported():
            self._redis.delete(_key("missing", run_id))

    def leave_words(self, run_id: str, attempt: int, words: str) -> None:
        """Why an attempt failed, from a worker that could not write it into the store."""
        with reported():
            self._redis.set(_key("words", run_id, attempt), words, ex=_KEEP_WORDS_S)

    def last_words(self, run_id: str, attempt: int) -> str | None:
        """What ``leave_words`` left for this attempt."""
        with reported():
            words = self._redis.get(_key("words", run_id, attempt))
        return None if words is None else words.decode()

    def take_turn(self) -> bool:
        """Whether the caller is the one who is to reconcile in this interval: of many, one."""
        with reported():
            return bool(self._redis.set(_key("turn"), 1, nx=True, px=_ms(0.9 * self._timing.reconcile_s)))

    def put_census(self, census: Census) -> None:
        """Keep a count for all who want to know."""
        with reported():
            self._redis.set(_key("census"), json.dumps(asdict(census)), px=_ms(5 * self._timing.reconcile_s))

    def census(self) -> Census | None:
        """The last count, None when there was none lately."""
        with reported():
            data = self._redis.get(_key("census"))
        return None if data is None else Census(**json.loads(data))

    def workers(self) -> list[WorkerPresence]:
        """Workers that gave a sign of life lately."""
        with reported():
            keys = sorted(get_keys(queue=self._queue))
            pipeline = self._redis.pipeline()
            for key in keys:
                pipeline.hgetall(key)
            found = pipeline.execute()
        oldest = utc_now() - timedelta(seconds=_WORKER_SILENT_S)
        return [_presence(key, fields) for key, fields in zip(keys, found, strict=True) if _is_there(fields, oldest)]

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
            return  # another was quicker

    def _job(self, run_id: str, attempt: int) -> Job | None:
        return self._queue.fetch_job(_job_id(run_id, attempt))

    def _delete(self, job_id: str) -> None:
        try:
            Job.fetch(job_id, connection=self._redis, serializer=SERIALIZER).delete()
        except NoSuchJobError:
            self._queue.remove(job_id)


def _job_id(run_id: str, attempt: int) -> str:
    return f"{run_id}_{attempt}"


def _run_of(job_id: str) -> str:
    return job_id.rpartition("_")[0]


def _key(*words: object) -> str:
    return ":".join([_PREFIX, *map(str, words)])


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))


def _is_there(fields: Mapping[bytes, bytes], oldest: datetime) -> bool:
    beat = fields.get(b"last_heartbeat")
    if beat is None or b"death" in fields or b"birth" not in fields:
        return False
    return read_time(beat.decode()) >= oldest


def _presence(key: str, fields: Mapping[bytes, bytes]) -> WorkerPresence:
    return WorkerPresence(
        name=key.rpartition(":")[2],
        hostname=fields.get(b"hostname", b"").decode(),
        busy=fields.get(b"state") == b"busy",
    )
