"""Records, states and events of runs, and their JSON form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_args

from promptatlas.types.runs import EventType, RunStatus

from service.errors import Conflict, DamagedArtifact

MAX_TEXT = 4_096
"""Maximum characters of a log text or an error; longer texts are truncated."""

EndStatus = Literal["succeeded", "failed", "cancelled"]
ENDED: frozenset[str] = frozenset(get_args(EndStatus))
"""Final statuses."""


class StaleAttempt(Conflict):
    """A newer attempt exists or the run has ended, so this attempt can no longer write."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """Immutable part of a run.

    created_at: RFC 3339, UTC. resolved: what names in the spec referred to at creation, e.g. hashes of datasets.
    traceparent: W3C trace context of the request that created it; None unless it was traced.
    """

    id: str
    kind: str
    name: str | None
    spec: Mapping[str, Any]
    created_at: str
    resolved: Mapping[str, Any] = field(default_factory=dict)
    traceparent: str | None = None


@dataclass(frozen=True, kw_only=True)
class RunProgress:
    """Progress of a run. eta_s: predicted remaining seconds, None if unknown."""

    step: int = 0
    total: int | None = None
    eta_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class RunState:
    """State of a run.

    attempts: number of attempts started. n_deaths: attempts whose worker died since creation or the last resume.
    has_checkpoint: whether it can resume from a checkpoint. cancel_requested: it is to stop but still runs.
    queued_id: id of the event that created or last resumed it. notes, tags: written by people, empty at first.
    """

    status: RunStatus
    attempts: int = 0
    n_deaths: int = 0
    progress: RunProgress = field(default_factory=RunProgress)
    metrics: Mapping[str, float] = field(default_factory=dict)
    error: str | None = None
    prompts: tuple[str, ...] = ()
    has_checkpoint: bool = False
    cancel_requested: bool = False
    started_at: str | None = None
    ended_at: str | None = None
    queued_id: int = 1
    notes: str = ""
    tags: tuple[str, ...] = ()

    @property
    def has_ended(self) -> bool:
        """Whether the run has a final status."""
        return self.status in ENDED


@dataclass(frozen=True, kw_only=True)
class NewEvent:
    """An event without an id. time: RFC 3339, UTC. data: JSON values."""

    type: EventType
    time: str
    data: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class StoredEvent:
    """An event of a run. id: counts from 1 over all attempts. time: RFC 3339, UTC."""

    id: int
    type: EventType
    time: str
    data: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Output:
    """An output file of a run. sha256: 64 hexadecimal digits."""

    path: str
    n_bytes: int
    sha256: str


_STATE_FIELDS = frozenset(item.name for item in fields(RunState))


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A link of a run's log: some events and the state after them.

    writer: token of the writer, by which a retried write recognizes its own first attempt.
    """

    first_id: int
    events: tuple[NewEvent, ...]
    state: RunState
    writer: str

    @property
    def next_id(self) -> int:
        """Id of the first event of the next chunk."""
        return self.first_id + len(self.events)

    def after(self, first_id: int) -> Chunk:
        """The chunk without the events before an id."""
        if first_id <= self.first_id:
            return self
        return replace(self, first_id=first_id, events=self.events[first_id - self.first_id :])

    def numbered(self) -> list[StoredEvent]:
        """The events with their ids."""
        return [
            StoredEvent(id=number, type=event.type, time=event.time, data=event.data)
            for number, event in enumerate(self.events, self.first_id)
        ]

    def to_json(self) -> dict[str, Any]:
        """The chunk as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any], *, label: str) -> Chunk:
        """Inverse of ``to_json``; raises DamagedArtifact if fields are missing or unknown."""
        try:
            # Fields of later versions are ignored, so that services of two versions can share a store.
            state = {name: value for name, value in found["state"].items() if name in _STATE_FIELDS}
            state["progress"] = RunProgress(**state["progress"])
            state["prompts"] = tuple(state["prompts"])
            state["tags"] = tuple(state.get("tags", ()))
            events = tuple(NewEvent(**event) for event in found["events"])
            return cls(first_id=found["first_id"], events=events, state=RunState(**state), writer=found["writer"])
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedArtifact(f"{label} is damaged: it has missing or unknown fields.") from error


def record_json(record: RunRecord) -> dict[str, Any]:
    """A record as JSON values."""
    return asdict(record)


def status_data(state: RunState, **more: object) -> dict[str, Any]:
    """Data of a ``status`` event."""
    return {"status": state.status, "progress": asdict(state.progress), **more}


def done_data(state: RunState) -> dict[str, Any]:
    """Data of a ``done`` event."""
    return status_data(state, metrics=dict(state.metrics), error=state.error)


def finite_json(value: Any) -> Any:
    """``value`` with None for non-finite numbers, recursively."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: finite_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite_json(item) for item in value]
    return value


def truncate(text: str) -> str:
    """Truncate ``text`` to MAX_TEXT characters."""
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
