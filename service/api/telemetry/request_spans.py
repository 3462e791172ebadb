"""Spans of an HTTP request: the request itself, and its validation until the first request to the engine."""

from __future__ import annotations

import time

from starlette.datastructures import Headers
from starlette.types import Scope

from service.api.telemetry.request_record import RequestRecord
from service.errors import AtlasError
from service.tracing.spans import Span, Tracer


class RequestSpan:
    """The spans of one request. Without a tracer it does nothing.

    Args:
        tracer: of this process, or None.
        request_id: of the request.
    """

    def __init__(self, tracer: Tracer | None, scope: Scope, *, method: str, request_id: str) -> None:
        self._tracer = tracer
        self._started_ns = time.time_ns()
        self.span: Span | None = None
        if tracer is not None:
            self.span = tracer.start(
                method,
                kind="server",
                parent=Headers(scope=scope).get("traceparent"),
                at_ns=self._started_ns,
                attributes={
                    "http.request.method": method,
                    "url.path": scope["path"],
                    "promptatlas.request_id": request_id,
                    **({"client.address": scope["client"][0]} if scope.get("client") else {}),
                },
            )

    def end(self, record: RequestRecord, *, method: str, route: str, status: int) -> None:
        """End the spans with what is known of the request."""
        if self._tracer is None or self.span is None:
            return
        self._end_validation(self._tracer, record, parent=self.span, status=status)
        self.span.rename(f"{method} {route}")
        self.span.set({"http.route": route, "http.response.status_code": status})
        if record.model is not None:
            self.span.set({"gen_ai.request.model": record.model})
        if record.prompt is not None and record.prompt_sha256 is not None:
            self.span.set({"promptatlas.prompt": record.prompt, "promptatlas.prompt.sha256": record.prompt_sha256})
        if record.error is not None and (status >= 500 or not isinstance(record.error, AtlasError)):
            self.span.record(record.error)
        elif status >= 500:
            self.span.fail(str(status))
        elif not record.is_complete:
            self.span.fail("incomplete_response")
        self.span.end()

    def _end_validation(self, tracer: Tracer, record: RequestRecord, *, parent: Span, status: int) -> None:
        is_refused = record.submitted_ns is None and record.error is not None and status < 500
        if record.submitted_ns is None and not is_refused:
            return
        span = tracer.start("validate", parent=parent.traceparent, at_ns=self._started_ns)
        if is_refused and record.error is not None:
            span.record(record.error)
        span.end(at_ns=record.submitted_ns)
