"""Spans of the API process over a scripted engine."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.trace import StatusCode
from starlette.testclient import TestClient

from service.app import create_app
from tests.service.api.conftest import OpenWorld, World
from tests.service.api.run_world import BODY, with_queue
from tests.service.tracing.memory_tracer import MemoryTracer, parent_id, span_id

CLIENT = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
COMPLETION: dict[str, Any] = {"model": "demo", "prompt": "x", "max_tokens": 1}


def traced(world: World) -> tuple[TestClient, MemoryTracer]:
    tracer = MemoryTracer()
    app = create_app(world.services, tracer=tracer)
    return TestClient(app, base_url="http://127.0.0.1:8000", raise_server_exceptions=False), tracer


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_continues_the_clients_trace_to_the_engine(world: World, stream: bool) -> None:
    client, tracer = traced(world)
    client.post("/v1/completions", json={**COMPLETION, "stream": stream}, headers={**CLIENT, "X-Request-ID": "q"})
    found = tracer.by_name
    request, validation = found["POST /v1/completions"], found["validate"]
    assert parent_id(request) == 0xB7AD6B7169203331
    assert parent_id(validation) == span_id(request)
    assert request.start_time == validation.start_time
    assert request.end_time is not None
    assert validation.end_time is not None
    assert validation.end_time <= request.end_time
    attributes = dict(request.attributes or {})
    assert (attributes["http.route"], attributes["http.response.status_code"]) == ("/v1/completions", 200)
    assert (attributes["gen_ai.request.model"], attributes["promptatlas.request_id"]) == ("demo", "q")
    sent = world.end.submitted[-1].traceparent
    assert sent == f"00-0af7651916cd43dd8448eb211c80319c-{span_id(request):016x}-01"


def test_a_refused_request_records_why_in_its_validation(world: World) -> None:
    client, tracer = traced(world)
    client.post("/v1/completions", json={**COMPLETION, "prompt_ref": "nope"})
    client.post("/v1/completions", json={"model": "demo"})
    validations = [span for span in tracer.spans if span.name == "validate"]
    assert [(one.attributes or {})["error.type"] for one in validations] == ["NotFound", "InvalidRequest"]
    assert [event.name for one in validations for event in one.events] == ["exception", "exception"]
    requests = [span for span in tracer.spans if span.name == "POST /v1/completions"]
    assert all(one.status.status_code == StatusCode.UNSET for one in requests)


def test_an_unexpected_exception_is_recorded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(world.services.runs, "list_runs", fail)
    client, tracer = traced(world)
    assert client.get("/v1/runs").status_code == 500
    (span,) = tracer.spans
    assert span.status.status_code == StatusCode.ERROR
    assert [(event.attributes or {})["exception.type"] for event in span.events] == ["RuntimeError"]


def test_without_the_engine_a_request_has_failed(open_world: OpenWorld) -> None:
    client, tracer = traced(open_world(ready=False))
    client.post("/v1/completions", json=COMPLETION)
    (span,) = tracer.spans
    assert (span.attributes or {})["error.type"] == "EngineUnavailable"


def test_a_run_keeps_the_context_of_the_request_that_started_it(world: World) -> None:
    with_queue(world)
    client, tracer = traced(world)
    run_id = client.post("/v1/runs", json=BODY, headers=CLIENT).json()["id"]
    (span,) = [one for one in tracer.spans if one.name == "POST /v1/runs"]
    record = world.services.runs.get(run_id)[0]
    assert record.traceparent == f"00-0af7651916cd43dd8448eb211c80319c-{span_id(span):016x}-01"
    untraced = world.client.post("/v1/runs", json=BODY).json()["id"]
    assert world.services.runs.get(untraced)[0].traceparent is None


def test_without_traces_the_engine_gets_no_context(world: World) -> None:
    world.client.post("/v1/completions", json=COMPLETION, headers=CLIENT)
    assert world.end.submitted[-1].traceparent is None
