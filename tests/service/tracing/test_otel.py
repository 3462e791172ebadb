from __future__ import annotations

import pytest
from opentelemetry.trace import SpanKind, StatusCode

from service.errors import InvalidRequest
from service.tracing.otel import OtelTracer
from tests.service.tracing.memory_tracer import MemoryTracer, parent_id, span_id

CLIENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_span_continues_the_trace_of_its_parent() -> None:
    tracer = MemoryTracer()
    outer = tracer.start("outer", kind="server", parent=CLIENT, at_ns=1_000, attributes={"a": 1})
    inner = tracer.start("inner", parent=outer.traceparent, at_ns=2_000)
    inner.end(at_ns=3_000)
    outer.rename("renamed")
    outer.end(at_ns=4_000)
    found = tracer.by_name
    assert outer.trace_id == inner.trace_id == "0af7651916cd43dd8448eb211c80319c"
    assert parent_id(found["renamed"]) == 0xB7AD6B7169203331
    assert parent_id(found["inner"]) == span_id(found["renamed"])
    assert (found["inner"].start_time, found["inner"].end_time) == (2_000, 3_000)
    assert found["renamed"].kind == SpanKind.SERVER
    assert dict(found["renamed"].attributes or {}) == {"a": 1}


@pytest.mark.parametrize("given", [None, "", "nonsense", "00-" + "0" * 32 + "-b7ad6b7169203331-01"])
def test_an_invalid_context_begins_a_trace(given: str | None) -> None:
    tracer = MemoryTracer()
    tracer.start("root", parent=given, links=[] if given is None else [given]).end()
    (span,) = tracer.spans
    assert span.parent is None
    assert not span.links


def test_a_caller_that_does_not_sample_is_followed() -> None:
    tracer = MemoryTracer()
    span = tracer.start("root", parent=CLIENT.removesuffix("01") + "00")
    span.end()
    assert not tracer.spans
    assert span.traceparent.endswith("-00")


def test_links_are_to_other_traces() -> None:
    tracer = MemoryTracer()
    tracer.start("run", kind="consumer", links=[CLIENT]).end()
    (span,) = tracer.spans
    assert [f"{link.context.span_id:x}" for link in span.links] == ["b7ad6b7169203331"]
    assert span.parent is None


def test_exceptions_are_recorded_and_texts_of_clients_are_not() -> None:
    tracer = MemoryTracer()
    ours, theirs = tracer.start("ours"), tracer.start("theirs")
    try:
        raise RuntimeError("broken")
    except RuntimeError as error:
        ours.record(error)
    theirs.record(InvalidRequest("the text of a client", loc=("inputs",)))
    ours.end()
    theirs.end()
    found = tracer.by_name
    expected = {"ours": ("RuntimeError", "broken"), "theirs": ("InvalidRequest", "Invalid request")}
    for name, (kind, message) in expected.items():
        span = found[name]
        (event,) = span.events
        attributes = dict(event.attributes or {})
        assert (event.name, attributes["exception.type"], attributes["exception.message"]) == (
            "exception",
            kind,
            message,
        )
        assert span.status.status_code == StatusCode.ERROR
        assert (span.attributes or {})["error.type"] == kind
    assert "test_otel.py" in str((found["ours"].events[0].attributes or {})["exception.stacktrace"])


def test_an_exporting_tracer_names_the_service_and_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    monkeypatch.setenv(*next(iter(environ.items())))
    tracer = OtelTracer.exporting(environ, process="engine")
    attributes = tracer._provider.resource.attributes
    assert (attributes["service.name"], attributes["promptatlas.process"]) == ("promptatlas", "engine")
    tracer.close()
