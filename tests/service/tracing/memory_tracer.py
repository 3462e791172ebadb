"""A tracer whose spans stay in memory."""

from __future__ import annotations

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service.tracing.otel import OtelTracer


class MemoryTracer(OtelTracer):
    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        super().__init__(SimpleSpanProcessor(self._exporter), resource=Resource({}))

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """The ended spans, in order of their ends."""
        return self._exporter.get_finished_spans()

    @property
    def by_name(self) -> dict[str, ReadableSpan]:
        """The ended spans, which must have different names."""
        names = [span.name for span in self.spans]
        assert len(set(names)) == len(names), names
        return dict(zip(names, self.spans, strict=True))


def parent_id(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def span_id(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.span_id)
