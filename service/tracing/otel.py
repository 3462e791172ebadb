"""Tracing with the OpenTelemetry SDK. Only :mod:`service.tracing.opening` imports this module, if traces are configured.

The tracer provider is not made global: FastAPI and other libraries would add spans of their own.
"""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.errors import AtlasError
from service.tracing.spans import Attributes, SpanKind

_KINDS: Mapping[SpanKind, trace.SpanKind] = {
    "internal": trace.SpanKind.INTERNAL,
    "server": trace.SpanKind.SERVER,
    "consumer": trace.SpanKind.CONSUMER,
}
_PROPAGATOR = TraceContextTextMapPropagator()
_EXPORT_DELAY_MS = 1000.0  # the SDK's 5 s would lose more spans of a process that is killed
_FLUSH_MS = 5000


class OtelSpan:
    """A span of the SDK; a :class:`service.tracing.spans.Span`."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span

    @property
    def traceparent(self) -> str:
        """The span's context in the format of W3C."""
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        return f"{self._span.get_span_context().trace_id:032x}"

    def rename(self, name: str) -> None:
        """Replace the name."""
        self._span.update_name(name)

    def set(self, attributes: Attributes) -> None:
        """Set attributes."""
        self._span.set_attributes(dict(attributes))

    def fail(self, error_type: str) -> None:
        """Mark the span as failed."""
        self._span.set_attribute("error.type", error_type)
        self._span.set_status(trace.StatusCode.ERROR)

    def record(self, error: BaseException) -> None:
        """Mark the span as failed, and add the exception. The message of an error for the client may repeat its text."""
        self.fail(type(error).__qualname__)
        attributes: dict[str, Any] = {"exception.type": type(error).__qualname__}
        if isinstance(error, AtlasError):
            attributes["exception.message"] = error.title
        else:
            attributes["exception.message"] = str(error)
            attributes["exception.stacktrace"] = "".join(traceback.format_exception(error))
        self._span.add_event("exception", attributes)

    def end(self, *, at_ns: int | None = None) -> None:
        """End the span."""
        self._span.end(at_ns)


class OtelTracer:
    """A tracer of the SDK; a :class:`service.tracing.spans.Tracer`.

    Args:
        processor: receives the spans that have ended.
        resource: attributes of the process.
    """

    def __init__(self, processor: SpanProcessor, *, resource: Resource) -> None:
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("promptatlas")

    @classmethod
    def exporting(cls, environ: Mapping[str, str], *, process: str) -> OtelTracer:
        """A tracer that exports to the endpoint of ``OTEL_EXPORTER_OTLP_ENDPOINT``, as the SDK reads it."""
        service = {} if environ.get("OTEL_SERVICE_NAME") else {"service.name": "promptatlas"}
        delay_ms = None if environ.get("OTEL_BSP_SCHEDULE_DELAY") else _EXPORT_DELAY_MS
        processor = BatchSpanProcessor(OTLPSpanExporter(), schedule_delay_millis=delay_ms)
        return cls(processor, resource=Resource.create({**service, "promptatlas.process": process}))

    def start(
        self,
        name: str,
        *,
        kind: SpanKind = "internal",
        parent: str | None = None,
        links: Sequence[str] = (),
        at_ns: int | None = None,
        attributes: Attributes | None = None,
    ) -> OtelSpan:
        """Start a span."""
        span = self._tracer.start_span(
            name,
            context=trace.set_span_in_context(trace.NonRecordingSpan(_context_of(parent))),
            kind=_KINDS[kind],
            attributes=dict(attributes or {}),
            links=[trace.Link(context) for link in links if (context := _context_of(link)).is_valid],
            start_time=at_ns,
        )
        return OtelSpan(span)

    def close(self) -> None:
        """Export the spans that have ended, and stop."""
        self._provider.force_flush(_FLUSH_MS)
        self._provider.shutdown()


def _context_of(traceparent: str | None) -> trace.SpanContext:
    """The context in a ``traceparent``; an invalid one without it."""
    if traceparent is None:
        return trace.INVALID_SPAN_CONTEXT
    found = _PROPAGATOR.extract({"traceparent": traceparent})
    return trace.get_current_span(found).get_span_context()
