"""Requests about runs that several nouns send."""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import quote

import pydantic
from httpx_sse import ServerSentEvent

from promptatlas.errors import UnexpectedAnswerError
from promptatlas.resources.encoding import checked, json_body, plain
from promptatlas.resources.options import Spec
from promptatlas.transport.call import EVENTS, Call, CallOptions, Following, nothing, options_of, reader
from promptatlas.types import RUN_KINDS, RunAnnotation, RunBody, RunEvent, RunKind, RunPlan
from promptatlas.types import Run as RunInfo

# Artifacts are tensors, tables and pages.
ANY_TYPE = "*/*"


def create_request(kind: RunKind, spec: Spec, *, name: str | None, options: CallOptions) -> Call[RunInfo]:
    """Queues a run. Raises InvalidRequestError if the spec is invalid."""
    given = {"kind": kind, "spec": plain(spec)}
    fields = checked(RunBody, given if name is None else {**given, "name": name})
    body = json_body({**fields, "spec": checked(RUN_KINDS[kind].spec, given["spec"])})
    common = options_of(options, creates=True)
    return Call(method="POST", path="/v1/runs", parse=reader(RunInfo), body=body, **common)


def plan_request(kind: RunKind, spec: Spec, *, options: CallOptions) -> Call[RunPlan]:
    """Validates and completes a spec without queueing a run. Raises InvalidRequestError if the spec is invalid."""
    body = json_body(checked(RunBody, {"kind": kind, "spec": checked(RUN_KINDS[kind].spec, plain(spec))}))
    return Call(
        method="POST",
        path="/v1/runs",
        params={"dry_run": "true"},
        parse=reader(RunPlan),
        body=body,
        **options_of(options),
    )


def run_request(run_id: str, *, options: CallOptions) -> Call[RunInfo]:
    """Reads a run."""
    return Call(method="GET", path=run_path(run_id), parse=reader(RunInfo), **options_of(options))


def annotate_request(
    run_id: str, *, notes: str | None, tags: Sequence[str] | None, options: CallOptions
) -> Call[RunInfo]:
    """Sets notes and tags of a run; None: unchanged. Raises InvalidRequestError if they are invalid."""
    given = {"notes": notes, "tags": None if tags is None else list(tags)}
    body = json_body(checked(RunAnnotation, {name: value for name, value in given.items() if value is not None}))
    return Call(method="PATCH", path=run_path(run_id), parse=reader(RunInfo), body=body, **options_of(options))


def artifact_request(run_id: str, path: str, *, options: CallOptions) -> Call[None]:
    """Downloads an artifact to a file."""
    address = _artifact_path(run_id, path)
    return Call(method="GET", path=address, parse=nothing, accept=ANY_TYPE, **options_of(options))


def content_request(run_id: str, path: str, *, options: CallOptions) -> Call[bytes]:
    """Reads an artifact into memory."""
    address = _artifact_path(run_id, path)
    return Call(method="GET", path=address, parse=bytes, accept=ANY_TYPE, **options_of(options))


def events_request(run_id: str, *, after: int, following: Following, options: CallOptions) -> Call[RunEvent]:
    """Streams the events after the one with id ``after``; 0: all."""
    common = options_of(options)
    if after:
        common["headers"] = {**common["headers"], "Last-Event-ID": str(after)}
    return Call(
        method="GET",
        path=f"{run_path(run_id)}/events",
        parse=reader(RunEvent),
        parse_event=read_event,
        following=following,
        accept=EVENTS,
        **common,
    )


def read_event(event: ServerSentEvent) -> RunEvent:
    """The event of a run in a server-sent event. Raises UnexpectedAnswerError."""
    try:
        data = json.loads(event.data)
        return RunEvent.model_validate({"id": event.id, "type": event.event, "data": data})
    except (ValueError, pydantic.ValidationError) as error:
        raise UnexpectedAnswerError(
            f"expected an event with a number, a type and JSON, got {event.id!r}, {event.event!r}, {event.data[:80]!r}"
        ) from error


def run_path(run_id: str) -> str:
    """The path of a run's route."""
    return f"/v1/runs/{quote(run_id, safe='')}"


def _artifact_path(run_id: str, path: str) -> str:
    return f"{run_path(run_id)}/artifacts/{quote(path)}"
