"""Spans of requests in the engine process: the request, and in it queue, prefill and decode.

They are made after a request has ended, from the times that the engine has recorded, so that no step waits for them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from service.engine.requests import Capture, Generate
from service.engine.statistics import RequestTimes
from service.errors import AtlasError
from service.hosting.ipc.messages import Submit
from service.tracing.spans import Attributes, Tracer


@dataclass(frozen=True, kw_only=True)
class _Traced:
    job: Submit
    parent: str
    arrived_s: float


class RequestSpans:
    """Makes the spans of traced requests, with the GenAI attributes of OpenTelemetry.

    Args:
        tracer: of the engine process.
        clock: the engine's clock, in monotonic seconds.
        wall_ns: nanoseconds since the epoch.
    """

    def __init__(
        self,
        tracer: Tracer,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._tracer = tracer
        self._clock = clock
        self._wall_ns = wall_ns
        self._traced: dict[str, _Traced] = {}
        self._times: dict[str, RequestTimes] = {}

    def submitted(self, job: Submit, *, arrived_s: float) -> None:
        """A request has arrived."""
        if job.traceparent is not None:
            self._traced[job.request.request_id] = _Traced(job=job, parent=job.traceparent, arrived_s=arrived_s)

    def note_times(self, times: RequestTimes) -> None:
        """The engine has ended a request."""
        if times.request_id in self._traced:
            self._times[times.request_id] = times

    def finish(self, request_id: str, *, error: AtlasError | None = None) -> None:
        """Make the spans of a request that has ended. Requests that are not traced are ignored."""
        traced, times = self._traced.pop(request_id, None), self._times.pop(request_id, None)
        if traced is None:
            return
        # One offset for all spans of a request, so that they nest exactly.
        at_ns = self._times_ns()
        operation = _operation_of(traced.job.request)
        span = self._tracer.start(
            f"{operation} {traced.job.model}",
            parent=traced.parent,
            at_ns=at_ns(traced.arrived_s),
            attributes={"gen_ai.operation.name": operation, **_request_attributes(traced.job)},
        )
        if error is not None:
            span.record(error)
        if times is None:  # refused before it was queued
            span.end()
            return
        if error is None and "abort" in times.reasons:
            span.fail("abort")
        span.set(_response_attributes(times))
        for name, start_s, end_s in _phases(times):
            phase = self._tracer.start(name, parent=span.traceparent, at_ns=at_ns(start_s))
            phase.end(at_ns=at_ns(end_s))
        span.end(at_ns=at_ns(times.ended_s))

    def _times_ns(self) -> Callable[[float], int]:
        """Converts seconds of the engine's clock to nanoseconds since the epoch."""
        now_s, now_ns = self._clock(), self._wall_ns()
        return lambda at_s: now_ns - int((now_s - at_s) * 1e9)


def _phases(times: RequestTimes) -> Iterator[tuple[str, float, float]]:
    """Name, start and end of each phase that the request has reached."""
    yield "queue", times.arrived_s, times.admitted_s or times.ended_s
    if times.admitted_s is not None:
        yield "prefill", times.admitted_s, times.prefilled_s or times.ended_s
    if times.first_token_s is not None:
        yield "decode", times.first_token_s, times.ended_s


def _operation_of(request: Generate | Capture) -> str:
    if isinstance(request, Capture):
        return "activations"
    if request.capture is not None:
        return "trajectories"
    return "chat" if request.messages is not None else "text_completion"


def _request_attributes(job: Submit) -> Attributes:
    request = job.request
    found: dict[str, str | bool | int | float] = {
        "gen_ai.provider.name": "promptatlas",
        "gen_ai.request.model": job.model,
        "gen_ai.response.id": request.request_id,
    }
    if request.prompt is not None:
        found["promptatlas.prompt.sha256"] = "+".join(sha256 for sha256, _ in request.prompt.parts)
    if isinstance(request, Generate):
        sampling = request.sampling
        found |= {
            "gen_ai.request.max_tokens": request.max_tokens,
            "gen_ai.request.choice.count": request.n,
            "gen_ai.request.stream": request.stream,
            "gen_ai.request.temperature": sampling.temperature,
            "gen_ai.request.top_p": sampling.top_p,
            "gen_ai.request.top_k": sampling.top_k,
            "gen_ai.request.presence_penalty": sampling.presence_penalty,
            "gen_ai.request.frequency_penalty": sampling.frequency_penalty,
        }
        if sampling.seed is not None and abs(sampling.seed) < 2**63:  # OTLP has integers of 64 bits
            found["gen_ai.request.seed"] = sampling.seed
    return found


def _response_attributes(times: RequestTimes) -> Attributes:
    found: dict[str, str | int | float | list[str]] = {
        "gen_ai.usage.input_tokens": times.n_input,
        "gen_ai.usage.output_tokens": times.n_generated,
        "gen_ai.response.finish_reasons": list(dict.fromkeys(times.reasons)),
        "promptatlas.rows": len(times.reasons),
        "gen_ai.latency.e2e": times.ended_s - times.arrived_s,
    }
    if times.admitted_s is not None:
        found["gen_ai.latency.time_in_queue"] = times.admitted_s - times.arrived_s
    if times.first_token_s is not None:
        found["gen_ai.latency.time_to_first_token"] = times.first_token_s - times.arrived_s
    return found
