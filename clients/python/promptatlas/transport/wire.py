"""Conversion of calls to httpx requests, and of httpx responses to values or errors. Does no I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

from promptatlas.errors import ProblemError, UnexpectedAnswerError, problem_error
from promptatlas.transport.call import Body, Call
from promptatlas.transport.files import FileStream, ProgressBar, Received
from promptatlas.transport.httpx_errors import request_id_of
from promptatlas.transport.retry import Attempts, RetryPolicy
from promptatlas.types import ResponseBody

T = TypeVar("T")

_CONNECT_S = 10.0
# A 504 of the server has more detail than a timeout of ours, so it gets time to arrive.
_GRACE_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Wire:
    """Settings and conversions that synchronous and asynchronous senders share.

    timeout_s: default deadline of a call. live: show the progress of runs unless a verb says otherwise.
    """

    policy: RetryPolicy
    timeout_s: float
    random: Callable[[], float]
    clock: Callable[[], float]
    bar: ProgressBar
    live: bool = False

    def attempts(self, call: Call[Any]) -> Attempts:
        """The attempts that the call has. ValueError for a timeout that is not positive."""
        policy = self.policy if call.retries else RetryPolicy(n_retries=0)
        timeout_s = self.timeout_s if call.timeout_s is None else call.timeout_s
        if not timeout_s > 0:
            raise ValueError(f"timeout_s: expected more than 0, got {timeout_s}")
        return Attempts(policy, timeout_s=timeout_s, random=self.random, clock=self.clock)

    def request(self, call: Call[Any], *, timeout_s: float) -> dict[str, Any]:
        """Arguments of ``httpx.Client.build_request``."""
        headers = {"Accept": call.accept, **call.headers}
        if call.following is None:
            headers["X-Request-Timeout"] = f"{timeout_s:.6g}"
        if call.accept != "application/json":
            # Compressing floats costs time and saves nothing; compressing events delays them.
            headers["Accept-Encoding"] = "identity"
        wait_s = timeout_s + _GRACE_S if call.following is None else call.following.quiet_s
        timeout = httpx.Timeout(wait_s, connect=min(_CONNECT_S, timeout_s))
        request = {"method": call.method, "url": call.path, "params": call.params, "timeout": timeout}
        return {**request, **_body(call.body, headers)}

    @contextmanager
    def sending(self, request: httpx.Request, call: Call[Any]) -> Iterator[None]:
        """Context in which the request is sent. An upload is streamed from its file, with a progress bar."""
        upload = None if call.body is None else call.body.upload
        if upload is None:
            yield
            return
        with self.bar(upload.n_bytes, label="sending") as show:
            request.stream = FileStream(upload, show=show)
            yield

    def parsed(self, call: Call[T], response: httpx.Response) -> T:
        """The value of a response that has been read. Raises UnexpectedAnswerError or ProblemError."""
        try:
            value = call.parse(response.content)
        except UnexpectedAnswerError:
            if response.is_success:
                raise
            raise self.problem(response) from None
        if isinstance(value, ResponseBody):
            value._request_id = request_id_of(response)
        return value

    def refused(self, call: Call[Any], response: httpx.Response) -> bool:
        """Whether the status is an error that the call does not accept."""
        return not response.is_success and response.status_code not in call.accepted_errors

    def problem(self, response: httpx.Response) -> ProblemError:
        """The error that a response reports."""
        return problem_error(response.status_code, response.headers, response.content)

    def received(self, response: httpx.Response, path: Path, *, temporary: bool) -> Received:
        """A response body that was saved to a file."""
        return Received(path=path, temporary=temporary, request_id=request_id_of(response))


def size_of(response: httpx.Response) -> int | None:
    """Length of the body in bytes; None if the server does not state it."""
    value = response.headers.get("content-length", "")
    return int(value) if value.isdigit() else None


def _body(body: Body | None, headers: dict[str, str]) -> dict[str, Any]:
    if body is None:
        return {"headers": headers}
    if body.upload is not None:
        size = str(body.upload.n_bytes)
        # `sending` replaces the stream; an iterator makes httpx expect a streamed body.
        typed = {**headers, "Content-Type": body.content_type, "Content-Length": size}
        return {"headers": typed, "content": iter(())}
    if body.parts is None:
        return {"headers": {**headers, "Content-Type": body.content_type}, "content": body.content}
    # Only `tensors` has a file name: the part `request` is a plain form field.
    files = {
        name: (None if kind == "application/json" else f"{name}.safetensors", content, kind)
        for name, (content, kind) in body.parts.items()
    }
    return {"headers": headers, "files": files}
