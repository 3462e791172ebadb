"""Runs: long work on the workers, as records that outlive them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from promptatlas.types.wire import ListPage, RequestBody, ResponseBody

RunKind = Literal["tune", "evaluate", "harvest", "map", "report", "distill", "sample"]
"""``sample`` is what ``POST /v1/priors/sample`` starts."""

RunStatus = Literal["queued", "running", "succeeded", "failed", "cancelled"]
EventType = Literal["status", "metric", "log", "done"]


class RunBody(RequestBody):
    """Body of ``POST /v1/runs``. spec: as its kind has it. name: for people."""

    kind: RunKind
    spec: dict[str, Any]
    name: str | None = Field(default=None, min_length=1, max_length=200)


class Progress(ResponseBody):
    """How far it is; eta_s: predicted seconds left, None while unknown."""

    step: int = 0
    total: int | None = None
    eta_s: float | None = None


class RunArtifact(ResponseBody):
    """A file that a run has left, to be had at ``/v1/runs/{id}/artifacts/{path}``."""

    path: str
    n_bytes: int
    sha256: str


class Run(ResponseBody):
    """One run.

    queue_position: 0 is next; None unless queued. metrics: the outcome, by name. error: why it failed, in a sentence.
    attempts: how often a worker has begun it. resumable: ``resume`` would go on, from a checkpoint if there is one.
    prompts: references of the versions that it has made. resolved: what the names in its spec meant when it was asked for.
    """

    id: str
    kind: RunKind
    name: str | None = None
    spec: dict[str, Any]
    status: RunStatus
    progress: Progress = Field(default_factory=Progress)
    queue_position: int | None = None
    metrics: dict[str, float] = Field(default_factory=dict)
    error: str | None = None
    artifacts: list[RunArtifact] = Field(default_factory=list)
    prompts: list[str] = Field(default_factory=list)
    attempts: int = 0
    resumable: bool = False
    resolved: dict[str, Any] | None = None
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None


class RunEvent(ResponseBody):
    """One event of a run, by SSE.

    id: counts from 1 over all attempts. type ``metric``: data has ``step``, perhaps ``member``, and numbers;
    ``status``: ``status`` and ``progress``; ``log``: ``level`` and ``text``; ``done``: the final status, and is the last.
    """

    id: int
    type: EventType
    time: datetime | None = None
    data: dict[str, Any]


class MetricPoint(ResponseBody):
    """Numbers of one step, of one member or of the run; each number under its own name."""

    step: int
    member: str | None = None


class MetricCurve(ListPage[MetricPoint]):
    """Answer of ``GET /v1/runs/{id}/metrics``: the whole curve, in order."""
