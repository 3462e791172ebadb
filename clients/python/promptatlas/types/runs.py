"""Runs: records of long jobs that the workers perform."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from promptatlas.types.run_kinds import RunKind
from promptatlas.types.wire import ListPage, RequestBody, ResponseBody

RunStatus = Literal["queued", "running", "succeeded", "failed", "cancelled"]
EventType = Literal["status", "metric", "log", "done"]
ExpiredPartName = Literal["artifact", "checkpoints", "events"]


MAX_NOTES = 4_000
MAX_TAGS = 16

Tag = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,39}$")]
"""A tag of a run: 1 to 40 letters, digits and ``. _ : -``, a letter or digit first."""


class RunBody(RequestBody):
    """Body of ``POST /v1/runs``. spec: of the type that ``RUN_KINDS`` has for the kind. name: shown to people."""

    kind: RunKind
    spec: dict[str, Any]
    name: str | None = Field(default=None, min_length=1, max_length=200)


class RunAnnotation(RequestBody):
    """Body of ``PATCH /v1/runs/{id}``. A field that is missing or null is not changed.

    notes: plain text; empty: none. tags: all tags of the run, in the order in which they are shown; repeated ones count once.
    """

    notes: str | None = Field(default=None, max_length=MAX_NOTES)
    tags: list[Tag] | None = Field(default=None, max_length=MAX_TAGS)


class Progress(ResponseBody):
    """Progress of a run. eta_s: predicted seconds left; None while unknown."""

    step: int = 0
    total: int | None = None
    eta_s: float | None = None


class RunArtifact(ResponseBody):
    """An output file of a run, served at ``/v1/runs/{id}/artifacts/{path}``."""

    path: str
    n_bytes: int
    sha256: str


class RunExpiry(ResponseBody):
    """A part of a run that the server has removed because of its age or size.

    path: of an artifact; reading it is error 410. n_bytes: what was removed.
    """

    part: ExpiredPartName
    path: str | None = None
    n_bytes: int
    expired_at: datetime


class Run(ResponseBody):
    """One run.

    queue_position: 0 is next; None unless queued. metrics: final values, by name. error: why the run failed, in one sentence.
    attempts: number of times a worker started the run. resumable: ``resume`` continues it, from a checkpoint if there is
    one. prompts: references of the versions that the run created. resolved: what the names in the spec resolved to when the
    run was submitted. expired: what was removed because of its age or size. notes, tags: set by ``PATCH /v1/runs/{id}``.
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
    expired: list[RunExpiry] = Field(default_factory=list)
    prompts: list[str] = Field(default_factory=list)
    attempts: int = 0
    resumable: bool = False
    resolved: dict[str, Any] | None = None
    notes: str = ""
    tags: list[str] = Field(default_factory=list)
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None


class RunPlan(ResponseBody):
    """Answer of ``POST /v1/runs?dry_run=true``: what the run would be. Nothing is stored or queued.

    spec: complete, with all defaults. resolved: what the names in it resolve to. memory_bytes: lower bound of a worker's
    memory. duration_s: predicted from the duration of the run ``predicted_from``, the newest succeeded run with the same
    model, dataset and kind of prompt, in proportion to members × steps × batch size. None where nothing is known.
    """

    kind: RunKind
    spec: dict[str, Any]
    resolved: dict[str, Any]
    memory_bytes: int | None = None
    duration_s: float | None = None
    predicted_from: str | None = None


class RunEvent(ResponseBody):
    """One server-sent event of a run.

    id: counts from 1 over all attempts. Data of type ``metric``: ``step``, optionally ``member``, ``time``, and numbers; of
    ``status``: ``status`` and ``progress``; of ``log``: ``level`` and ``text``; of ``done``, the last event: the final
    status.
    """

    id: int
    type: EventType
    time: datetime | None = None
    data: dict[str, Any]


class MetricPoint(ResponseBody):
    """Numbers of one step, of one member or of the whole run, each under its own name. time: when they were reported."""

    step: int
    member: str | None = None
    time: datetime | None = None


class MetricCurve(ListPage[MetricPoint]):
    """Answer of ``GET /v1/runs/{id}/metrics``: the whole curve, ordered by step."""
