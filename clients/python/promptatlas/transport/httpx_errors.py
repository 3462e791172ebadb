"""Translation of httpx's exceptions into those of this package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
from httpx_sse import SSEError

from promptatlas.errors import ConnectionFailedError, TimedOutError, UnexpectedAnswerError


@contextmanager
def translated() -> Iterator[None]:
    """Raises PromptAtlasError in place of httpx's exceptions."""
    try:
        yield
    except httpx.TimeoutException as error:
        connecting = isinstance(error, httpx.ConnectTimeout)
        raise TimedOutError(f"no answer in time: {_description(error)}", connecting=connecting) from error
    except SSEError as error:  # a TransportError too
        raise UnexpectedAnswerError(f"expected a stream of events: {error}") from error
    except httpx.TransportError as error:
        raise ConnectionFailedError(f"no answer: {_description(error)}") from error
    except httpx.DecodingError as error:
        raise UnexpectedAnswerError(f"expected a body in its content encoding: {_description(error)}") from error


def _description(error: httpx.RequestError) -> str:
    request = f"{error.request.method} {error.request.url}" if getattr(error, "_request", None) else "request"
    return f"{request}: {str(error) or type(error).__name__}"


def request_id_of(response: httpx.Response) -> str | None:
    """Identifier of the request in the server's log."""
    value: str | None = response.headers.get("x-request-id")
    return value
