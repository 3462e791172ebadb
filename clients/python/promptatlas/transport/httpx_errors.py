"""httpx' errors as ours, and what its answers say about themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from promptatlas.errors import ConnectionFailedError, TimedOutError, UnexpectedAnswerError


@contextmanager
def translated() -> Iterator[None]:
    """Raises ours in place of httpx' errors."""
    try:
        yield
    except httpx.TimeoutException as error:
        connecting = isinstance(error, httpx.ConnectTimeout)
        raise TimedOutError(f"no answer in time: {_said(error)}", connecting=connecting) from error
    except httpx.TransportError as error:
        raise ConnectionFailedError(f"no answer: {_said(error)}") from error
    except httpx.DecodingError as error:
        raise UnexpectedAnswerError(f"expected a body in its content encoding: {_said(error)}") from error


def _said(error: httpx.RequestError) -> str:
    request = f"{error.request.method} {error.request.url}" if getattr(error, "_request", None) else "request"
    return f"{request}: {str(error) or type(error).__name__}"


def request_id_of(response: httpx.Response) -> str | None:
    """What the server's log knows the request by."""
    value: str | None = response.headers.get("x-request-id")
    return value
