"""Ids of runs: they sort as the runs were created."""

from __future__ import annotations

import re
import secrets
import threading
from datetime import datetime, timedelta, timezone

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
"""Base 32 without the letters that look like digits; in ASCII order, so that text sorts as numbers do."""

_N_TIME = 11
_N_RANDOM = 6
_ID = re.compile(rf"run-[{_DIGITS}]{{{_N_TIME + _N_RANDOM}}}")


class RunIds:
    """Makes ids like ``run-1md3k0x9q2zfh7t0w``: microseconds since 1970, then chance.

    Of one maker, each id is greater than the one before, even when its clock stands still or goes back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last_us = 0

    def new(self, now: datetime) -> str:
        """An id that nobody has."""
        with self._lock:
            self._last_us = max((now - _EPOCH) // timedelta(microseconds=1), self._last_us + 1)
            moment = self._last_us
        return f"run-{_written(moment, _N_TIME)}{_written(secrets.randbelow(32**_N_RANDOM), _N_RANDOM)}"


def is_run_id(text: str) -> bool:
    """Whether ids are written so."""
    return _ID.fullmatch(text) is not None


def made_at(run_id: str) -> datetime:
    """When an id was made, in UTC."""
    number = 0
    for digit in run_id.removeprefix("run-")[:_N_TIME]:
        number = number * 32 + _DIGITS.index(digit)
    return _EPOCH + timedelta(microseconds=number)


def _written(number: int, n_digits: int) -> str:
    return "".join(_DIGITS[(number >> (5 * place)) % 32] for place in reversed(range(n_digits)))
