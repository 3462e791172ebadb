from __future__ import annotations

import errno

import pytest

from service.errors import Unavailable
from workers.running.store_retries import is_full, with_retries


class Flaky:
    """Fails a number of times, then succeeds."""

    def __init__(self, n_failures: int, error: Exception) -> None:
        self.n_calls = 0
        self._n_failures = n_failures
        self._error = error

    def __call__(self) -> str:
        self.n_calls += 1
        if self.n_calls <= self._n_failures:
            raise self._error
        return "done"


def full() -> Unavailable:
    error = Unavailable("no room")
    error.__cause__ = OSError(errno.ENOSPC, "no room")
    return error


def test_a_temporary_failure_is_retried() -> None:
    slept: list[float] = []
    flaky = Flaky(2, Unavailable("later"))
    assert with_retries(flaky, waits_s=(1.0, 2.0, 4.0), sleep=slept.append) == "done"
    assert slept == [1.0, 2.0]


def test_a_permanent_failure_is_raised() -> None:
    flaky = Flaky(99, Unavailable("never"))
    with pytest.raises(Unavailable, match="never"):
        with_retries(flaky, waits_s=(1.0, 2.0), sleep=lambda _: None)
    assert flaky.n_calls == 3


@pytest.mark.parametrize("error", [full(), ValueError("a bug")])
def test_other_errors_are_not_retried(error: Exception) -> None:
    flaky = Flaky(1, error)
    with pytest.raises(type(error)):
        with_retries(flaky, waits_s=(1.0,), sleep=lambda _: None)
    assert flaky.n_calls == 1


def test_a_full_disk_is_recognised_through_chained_errors() -> None:
    assert is_full(full())
    assert not is_full(Unavailable("gone"))
    assert not is_full(OSError(errno.EACCES, "no"))
