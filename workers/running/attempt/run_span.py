"""Span of one attempt at a run, linked to the request that started the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from service.store.runs.writer import RunWriter
from service.tracing.opening import open_tracer
from service.tracing.spans import Span


@contextmanager
def attempt_span(writer: RunWriter, *, environ: Mapping[str, str]) -> Iterator[Span | None]:
    """The span of an attempt; None without traces. It is a trace of its own: a run may wait and work for days."""
    tracer = open_tracer(environ, process="worker")
    if tracer is None:
        yield None
        return
    record = writer.record
    span = tracer.start(
        f"run {record.kind}",
        kind="consumer",
        links=[] if record.traceparent is None else [record.traceparent],
        attributes={
            "promptatlas.run.id": record.id,
            "promptatlas.run.kind": record.kind,
            "promptatlas.run.attempt": writer.attempt,
        },
    )
    try:
        yield span
    except BaseException as error:
        span.record(error)
        raise
    finally:
        span.end()
        tracer.close()
