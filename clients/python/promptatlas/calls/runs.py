"""Calls about runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import quote

import pydantic

from promptatlas.calls.call import (
    Call,
    CallOptions,
    Following,
    ServerEvent,
    checked,
    json_body,
    nothing,
    options_of,
    plain,
    reader,
)
from promptatlas.calls.running import EVENTS
from promptatlas.calls.system import page_params
from promptatlas.errors import UnexpectedAnswerError
from promptatlas.types import (
    RUN_KINDS,
    ListPage,
    MetricCurve,
    RequestBody,
    Run,
    RunBody,
    RunEvent,
    RunKind,
    RunStatus,
    SampleBody,
)

Spec = Mapping[str, Any] | RequestBody
"""A part of a spec: a dict as the contract has it, or the type of ``promptatlas.types``."""

MetricName = Literal["exact_match", "f1", "precision", "recall", "accuracy", "numeric_match", "loss", "perplexity"]
SplitName = Literal["train", "validation", "test"]


class TuneOptions(CallOptions, total=False):
    """What tuning takes beside model, dataset and priors; see ``promptatlas.types.TuneSpec``."""

    name: str
    method: Spec
    seeds: Sequence[int]
    optimizer: Spec
    regularize: Spec
    eval: Spec
    early_stopping: Spec | None
    keep: Literal["last", "best"]
    template: Spec | None
    data_seed: int
    checkpoint_every: int
    snapshots: int
    gradient_checkpointing: bool


class EvaluateOptions(CallOptions, total=False):
    """What evaluating takes beside model, prompts and dataset; see ``promptatlas.types.EvaluateSpec``."""

    split: SplitName
    metrics: Sequence[MetricName]
    n: int | None
    max_tokens: int | None
    samples: int
    seed: int
    template: Spec | None


def split_options(options: Mapping[str, Any]) -> tuple[dict[str, Any], CallOptions]:
    """The fields of a spec and the options of the call, out of all keyword arguments of a verb."""
    call_options: CallOptions = {}
    fields = dict(options)
    for name in CallOptions.__annotations__:
        if name in fields:
            call_options[name] = fields.pop(name)  # type: ignore[literal-required]
    return fields, call_options


def create(kind: RunKind, spec: Spec, name: str | None, options: CallOptions) -> Call[Run]:
    given = {"kind": kind, "spec": plain(spec)}
    fields = checked(RunBody, given if name is None else {**given, "name": name})
    return _post("/v1/runs", {**fields, "spec": checked(RUN_KINDS[kind].spec, given["spec"])}, options)


def sample(fields: Mapping[str, Any], options: CallOptions) -> Call[Run]:
    return _post("/v1/priors/sample", checked(SampleBody, fields), options)


def run(run_id: str, options: CallOptions) -> Call[Run]:
    return Call(method="GET", path=_path(run_id), parse=reader(Run), **options_of(options))


def runs(
    kind: str | None, status: RunStatus | None, limit: int | None, after: str | None, options: CallOptions
) -> Call[ListPage[Run]]:
    chosen = {name: value for name, value in (("kind", kind), ("status", status)) if value is not None}
    params = {**chosen, **page_params(limit, after)}
    return Call(method="GET", path="/v1/runs", parse=reader(ListPage[Run]), params=params, **options_of(options))


def cancel(run_id: str, options: CallOptions) -> Call[Run]:
    return Call(method="POST", path=f"{_path(run_id)}/cancel", parse=reader(Run), **options_of(options))


def resume(run_id: str, options: CallOptions) -> Call[Run]:
    common = options_of(options, creates=True)
    return Call(method="POST", path=f"{_path(run_id)}/resume", parse=reader(Run), **common)


def metrics(run_id: str, options: CallOptions) -> Call[MetricCurve]:
    return Call(method="GET", path=f"{_path(run_id)}/metrics", parse=reader(MetricCurve), **options_of(options))


def events(run_id: str, after: int, following: Following, options: CallOptions) -> Call[RunEvent]:
    common = options_of(options)
    if after:
        common["headers"] = {**common["headers"], "Last-Event-ID": str(after)}
    return Call(
        method="GET",
        path=f"{_path(run_id)}/events",
        parse=reader(RunEvent),
        parse_event=read_event,
        following=following,
        accept=EVENTS,
        **common,
    )


def artifact(run_id: str, path: str, options: CallOptions) -> Call[None]:
    # Any type: artifacts are tensors, tables and pages.
    address = f"{_path(run_id)}/artifacts/{quote(path)}"
    return Call(method="GET", path=address, parse=nothing, accept="*/*", **options_of(options))


def artifact_bytes(run_id: str, path: str, options: CallOptions) -> Call[bytes]:
    fetched = artifact(run_id, path, options)
    return Call(**{**vars(fetched), "parse": bytes})


def read_event(event: ServerEvent) -> RunEvent:
    """A run's event out of an event of the stream; raises UnexpectedAnswerError."""
    try:
        data = json.loads(event.data)
        return RunEvent.model_validate({"id": event.id, "type": event.event, "data": data})
    except (ValueError, pydantic.ValidationError) as error:
        raise UnexpectedAnswerError(
            f"expected an event with a number, a type and JSON, got {event.id!r}, {event.event!r}, {event.data[:80]!r}"
        ) from error


def _post(path: str, fields: Mapping[str, Any], options: CallOptions) -> Call[Run]:
    common = options_of(options, creates=True)
    return Call(method="POST", path=path, parse=reader(Run), body=json_body(fields), **common)


def _path(run_id: str) -> str:
    return f"/v1/runs/{quote(run_id, safe='')}"
