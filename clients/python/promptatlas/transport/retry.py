"""Retries: which failures are retried, and after how many seconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from promptatlas.errors import ConnectionFailedError, ProblemError, PromptAtlasError, TimedOutError

RETRIED_STATUSES = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Exponential backoff with jitter. A ``Retry-After`` of the server takes precedence.

    n_retries: attempts after the first. first_delay_s: delay before the first retry, doubled for each further one up to
    max_delay_s; jitter shortens it by up to half. max_retry_after_s: a larger ``Retry-After`` is an error at once.
    """

    n_retries: int = 3
    first_delay_s: float = 0.5
    max_delay_s: float = 8.0
    max_retry_after_s: float = 60.0

    def backoff_s(self, *, n_failed: int, jitter: float) -> float:
        """Delay after ``n_failed`` failed attempts; ``jitter`` is uniform in [0, 1)."""
        longest: float = min(self.first_delay_s * 2 ** (n_failed - 1), self.max_delay_s)
        return longest * (0.5 + 0.5 * jitter)


class Attempts:
    """The attempts of one call, within one deadline.

    remaining_s: seconds that the next attempt has.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        *,
        timeout_s: float,
        random: Callable[[], float],
        clock: Callable[[], float],
    ) -> None:
        self._policy = policy
        self._timeout_s = timeout_s
        self._random = random
        self._clock = clock
        self._started_s = clock()
        self._n_failed = 0
        self.remaining_s = timeout_s

    def delay_s(self, error: PromptAtlasError) -> float:
        """Seconds to wait before the next attempt. Raises ``error`` if there is no further attempt."""
        self._n_failed += 1
        if self._n_failed > self._policy.n_retries or not worth_retrying(error):
            raise error
        delay_s = self._policy.backoff_s(n_failed=self._n_failed, jitter=self._random())
        retry_after_s = error.retry_after_s if isinstance(error, ProblemError) else None
        if retry_after_s is not None:
            if retry_after_s > self._policy.max_retry_after_s:
                raise error
            delay_s = retry_after_s
        self.remaining_s = self._timeout_s - (self._clock() - self._started_s) - delay_s
        if self.remaining_s <= 0:
            raise error
        return delay_s


def worth_retrying(error: PromptAtlasError) -> bool:
    """Whether the same request may succeed later, and cannot have been executed already."""
    if isinstance(error, ProblemError):
        return error.status in RETRIED_STATUSES
    if isinstance(error, TimedOutError):
        return error.connecting
    return isinstance(error, ConnectionFailedError)
