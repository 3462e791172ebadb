"""Spans of the engine process, in memory, on clocks that stand still."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.trace import StatusCode

from service.engine.inputs import PromptChoice
from service.engine.requests import Capture, CaptureSpec, Generate, Sampling
from service.engine.statistics import RequestTimes
from service.errors import EngineFault, InvalidRequest
from service.hosting.engine_process.request_spans import RequestSpans
from service.hosting.ipc.messages import Submit
from tests.service.tracing.memory_tracer import MemoryTracer, parent_id, span_id

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOW_S, NOW_NS = 50.0, 1_000_000_000_000
SPEC = CaptureSpec(sites=("embed",))


def spans_on(tracer: MemoryTracer) -> RequestSpans:
    return RequestSpans(tracer, clock=lambda: NOW_S, wall_ns=lambda: NOW_NS)


def job(*, traceparent: str | None = PARENT, **fields: Any) -> Submit:
    prompt = PromptChoice(parts=(("sha256:ab", 1.0),))
    request = Generate(request_id="r", n=2, max_tokens=7, sampling=Sampling(seed=3), prompt=prompt, **fields)
    return Submit(model="demo", request=request, traceparent=traceparent)


def times(**changes: Any) -> RequestTimes:
    known: dict[str, Any] = {
        "request_id": "r",
        "arrived_s": 40.0,
        "admitted_s": 41.0,
        "first_token_s": 43.0,
        "prefilled_s": 44.0,
        "ended_s": 47.0,
        "n_input": 5,
        "n_generated": 9,
        "reasons": ("stop", "length", "stop"),
    }
    return RequestTimes(**{**known, **changes})


def at(seconds: float) -> int:
    return NOW_NS - int((NOW_S - seconds) * 1e9)


def test_a_request_has_its_phases_and_genai_attributes() -> None:
    tracer = MemoryTracer()
    spans = spans_on(tracer)
    spans.submitted(job(), arrived_s=40.0)
    spans.note_times(times())
    spans.finish("r")
    found = tracer.by_name
    request = found["text_completion demo"]
    assert parent_id(request) == 0xB7AD6B7169203331
    assert (request.start_time, request.end_time) == (at(40.0), at(47.0))
    expected = {
        "gen_ai.operation.name": "text_completion",
        "gen_ai.provider.name": "promptatlas",
        "gen_ai.request.model": "demo",
        "gen_ai.request.max_tokens": 7,
        "gen_ai.request.choice.count": 2,
        "gen_ai.request.seed": 3,
        "gen_ai.usage.input_tokens": 5,
        "gen_ai.usage.output_tokens": 9,
        "gen_ai.response.finish_reasons": ("stop", "length"),
        "gen_ai.response.id": "r",
        "gen_ai.latency.time_in_queue": 1.0,
        "gen_ai.latency.time_to_first_token": 3.0,
        "gen_ai.latency.e2e": 7.0,
        "promptatlas.prompt.sha256": "sha256:ab",
        "promptatlas.rows": 3,
    }
    assert {name: (request.attributes or {})[name] for name in expected} == expected
    phases = {"queue": (40.0, 41.0), "prefill": (41.0, 44.0), "decode": (43.0, 47.0)}
    for name, (start_s, end_s) in phases.items():
        assert parent_id(found[name]) == span_id(request)
        assert (found[name].start_time, found[name].end_time) == (at(start_s), at(end_s))


def test_requests_that_are_not_traced_leave_nothing() -> None:
    tracer = MemoryTracer()
    spans = spans_on(tracer)
    spans.submitted(job(traceparent=None), arrived_s=40.0)
    spans.note_times(times())
    spans.finish("r")
    assert not tracer.spans
    assert not spans._times


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        (Generate(request_id="r", messages=({"role": "user", "content": "x"},)), "chat demo"),
        (Generate(request_id="r", inputs=("x",), capture=SPEC), "trajectories demo"),
        (Capture(request_id="r", inputs=("x",), capture=SPEC), "activations demo"),
    ],
)
def test_each_operation_has_its_name(request_: Generate | Capture, name: str) -> None:
    tracer = MemoryTracer()
    spans = spans_on(tracer)
    spans.submitted(Submit(model="demo", request=request_, traceparent=PARENT), arrived_s=40.0)
    spans.note_times(times(first_token_s=None))
    spans.finish("r")
    assert {span.name for span in tracer.spans} == {name, "queue", "prefill"}


def test_cancelled_and_failed_requests_end_as_errors() -> None:
    tracer = MemoryTracer()
    spans = spans_on(tracer)
    waiting = {"admitted_s": None, "first_token_s": None, "prefilled_s": None}
    for error, reason in ((None, "abort"), (EngineFault("broken"), "error")):
        spans.submitted(job(), arrived_s=40.0)
        spans.note_times(times(**waiting, reasons=(reason,)))
        spans.finish("r", error=error)
    aborted, failed = (span for span in tracer.spans if span.name == "text_completion demo")
    assert [(one.attributes or {})["error.type"] for one in (aborted, failed)] == ["abort", "EngineFault"]
    assert aborted.status.status_code == failed.status.status_code == StatusCode.ERROR
    assert [event.name for event in failed.events] == ["exception"]
    assert not any(span.name in ("prefill", "decode") for span in tracer.spans)


def test_a_refused_request_is_one_span_with_the_exception() -> None:
    tracer = MemoryTracer()
    spans = spans_on(tracer)
    spans.submitted(job(), arrived_s=40.0)
    spans.finish("r", error=InvalidRequest("too long"))
    (span,) = tracer.spans
    assert (span.attributes or {})["error.type"] == "InvalidRequest"
