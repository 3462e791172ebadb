"""Leases: one process of all that share a store does a periodic task.

leases/{task}.{turn}.json    created exclusively by the process that takes the turn; it has the time
"""

from __future__ import annotations

import secrets
from datetime import timedelta

from service.errors import DamagedArtifact
from service.store.artifacts.clock import Clock, read_time, utc_now, write_time
from service.store.artifacts.store import ArtifactStore

FOLDER = "leases"


class Leases:
    """Turns at tasks. A turn is not a guarantee: a task must be safe if two processes do it at once.

    Args:
        artifacts: The shared store.
        clock: Current time; clocks of different hosts may differ by a small part of a lease.
    """

    def __init__(self, artifacts: ArtifactStore, *, clock: Clock = utc_now) -> None:
        self._artifacts = artifacts
        self._clock = clock

    def take(self, task: str, *, every: timedelta) -> bool:
        """Whether the caller does the task now: one process in each period of ``every``, whatever becomes of it."""
        turns = self._turns(task)
        last = max(turns, default=0)
        if last and not self._is_over(_key(task, last), every=every):
            return False
        record = {"started_at": write_time(self._clock()), "owner": secrets.token_hex(8)}
        if not self._artifacts.create_record(_key(task, last + 1), record):
            return False
        for turn in turns:
            self._artifacts.remove_record(_key(task, turn))
        return True

    def _turns(self, task: str) -> list[int]:
        names = (name.removesuffix(".json").rpartition(".") for name in self._artifacts.names(FOLDER))
        return sorted(int(number) for found, _, number in names if found == task and number.isdecimal())

    def _is_over(self, key: str, *, every: timedelta) -> bool:
        try:
            record = self._artifacts.get_record(key, label="a lease")
        except DamagedArtifact:
            return True
        return record is not None and self._clock() - read_time(record["started_at"]) >= every


def _key(task: str, turn: int) -> str:
    return f"{FOLDER}/{task}.{turn}.json"
