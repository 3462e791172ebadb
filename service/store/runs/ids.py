"""Ids of runs, sortable by creation time."""

from __future__ import annotations

import re
import secrets
import threading
from datetime import datetime, timedelta, timezone

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
"""Base-32 digits without ambiguous letters, in ASCII order, so that ids sort like numbers."""

_N_TIME = 11
_N_RANDOM = 6
_ID = re.compile(rf"run-[{_DIGITS}]{{{_N_TIME + _N_RANDOM}}}")


class RunIds:
    """Generates ids like ``run-1md3k0x9q2zfh7t0w``: microseconds since 1970 and random digits.

    Ids of one generator increase strictly, even if its clock stops or goes backwards.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last_us = 0

    def new(self, now: datetime) -> str:
        """A new unique id."""
        with self._lock:
            self._last_us = max((now - _EPOCH) // timedelta(microseconds=1), self._last_us + 1)
            moment = self._last_us
        return f"run-{_base32(moment, _N_TIME)}{_base32(secrets.randbelow(32**_N_RANDOM), _N_RANDOM)}"


def is_run_id(text: str) -> bool:
    """Whether ``text`` has the form of a run id."""
    return _ID.fullmatch(text) is not None


def made_at(run_id: str) -> datetime:
    """Creation time of an id, in UTC."""
    number = 0
    for digit in run_id.removeprefix("run-")[:_N_TIME]:
        number = number * 32 + _DIGITS.index(digit)
    return _EPOCH + timedelta(microseconds=number)


def _base32(number: int, n_digits: int) -> str:
    return "".join(_DIGITS[(number >> (5 * place)) % 32] for place in reversed(range(n_digits)))
