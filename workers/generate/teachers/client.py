"""HTTP client of one teacher: repeats what may succeed later, and describes failures without addresses and keys."""

from __future__ import annotations

import json
import random as random_numbers
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from service.errors import AtlasError, InvalidRequest, Unavailable

MAX_ANSWER_BYTES = 16 << 20
TIMEOUT_S = 300.0
CONNECT_TIMEOUT_S = 10.0

_REPEATED = frozenset({408, 409, 429})
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 30.0
_MAX_SHOWN = 200


class Refused(InvalidRequest):
    """The teacher refuses a request, and would refuse it again."""


class Nonsense(AtlasError):
    """An answer that is no completion."""

    title = "Nonsense"


class Stopped(Exception):
    """The client was closed while a request waited."""


@dataclass(frozen=True, kw_only=True)
class _Failure:
    """A failure that may not happen again. retry_after_s: the wait that the teacher requests."""

    reason: str
    retry_after_s: float | None = None


class TeacherClient:
    """Sends requests to one teacher. May be used from several threads.

    Args:
        name: of the teacher, for messages.
        base_url: of its API, e.g. ``https://host/v1``.
        key: bearer token; None: no key.
        patience_s: how long a failing request is repeated.
        transport: in place of the network. random, clock: replacements for tests.
    """

    def __init__(
        self,
        name: str,
        *,
        base_url: str,
        key: str | None,
        patience_s: float,
        transport: httpx.BaseTransport | None = None,
        random: Callable[[], float] = random_numbers.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        timeout = httpx.Timeout(TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
        # Connections are bounded by the threads that send.
        limits = httpx.Limits(max_connections=None)
        self._name = name
        self._http = httpx.Client(
            base_url=base_url, headers=headers, timeout=timeout, limits=limits, transport=transport
        )
        self._patience_s = patience_s
        self._random = random
        self._clock = clock
        self._stopped = threading.Event()

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON of the answer.

        Raises:
            Refused: The teacher refuses the request.
            Nonsense: The answer is no JSON, or too long.
            Unavailable: The teacher cannot be reached, or answers with errors, for as long as a request is repeated.
            Stopped: The client was closed meanwhile.
        """
        give_up_s = self._clock() + self._patience_s
        wait_s = _FIRST_WAIT_S
        while True:
            found = self._try(path, body)
            if not isinstance(found, _Failure):
                return found
            next_s = max(found.retry_after_s or 0.0, wait_s * (0.5 + self._random() / 2))
            if self._clock() + next_s > give_up_s:
                raise Unavailable(
                    f"Teacher {self._name!r} {found.reason}, and requests were repeated for {self._patience_s:g} seconds. Resume "
                    "the run later: stored samples are kept."
                )
            if self._stopped.wait(next_s):
                raise Stopped
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)

    def close(self) -> None:
        """End waits and connections, also those of other threads."""
        self._stopped.set()
        self._http.close()

    def _try(self, path: str, body: Mapping[str, Any]) -> Any:
        """The JSON of the answer, or a _Failure."""
        if self._stopped.is_set():
            raise Stopped
        try:
            with self._http.stream("POST", path, json=body) as answer:
                data = _read(answer)
        except (httpx.HTTPError, RuntimeError) as error:  # a RuntimeError: the client was closed
            if self._stopped.is_set():
                raise Stopped from None
            if not isinstance(error, httpx.HTTPError):
                raise
            reason = "cannot be reached" if isinstance(error, httpx.ConnectError) else "does not answer completely"
            return _Failure(reason=f"{reason} ({type(error).__name__})")
        if answer.status_code in _REPEATED or answer.status_code >= 500:
            return _Failure(reason=f"answered with status {answer.status_code}", retry_after_s=_retry_after_s(answer))
        if answer.status_code != 200:
            raise self._refusal(answer.status_code, data)
        try:
            return json.loads(data or b"")
        except (ValueError, RecursionError):
            raise Nonsense(f"expected JSON of at most {MAX_ANSWER_BYTES:,} bytes, got something else") from None

    def _refusal(self, status: int, data: bytes | None) -> Refused:
        if status in (401, 403):
            # The message often repeats a part of the key.
            return Refused(f"Teacher {self._name!r} refuses this server's key (status {status}).")
        message = _message_in(data)
        return Refused(f"Teacher {self._name!r} refuses a request with status {status}{message}.")


def _read(answer: httpx.Response) -> bytes | None:
    """The body; None if it is too long."""
    data = bytearray()
    for chunk in answer.iter_bytes():
        data += chunk
        if len(data) > MAX_ANSWER_BYTES:
            return None
    return bytes(data)


def _retry_after_s(answer: httpx.Response) -> float | None:
    """The wait of ``Retry-After``, in seconds or as a date."""
    text = answer.headers.get("Retry-After", "")
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


def _message_in(data: bytes | None) -> str:
    try:
        found = json.loads(data or b"")["error"]["message"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    return f": {' '.join(str(found).split())[:_MAX_SHOWN].rstrip('.')}"
