"""What the store says about runs: their record, their state, their events; and how these are written as JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from promptatlas.types.runs import EventType, RunStatus

from service.errors import Conflict, DamagedArtifact

MAX_TEXT = 4_096
"""Characters of a logged sentence or an error; what is longer is cut."""

EndStatus = Literal["succeeded", "failed", "cancelled"]
ENDED: frozenset[str] = frozenset(get_args(EndStatus))
"""The statuses of a run that nothing works on or waits for."""


class StaleAttempt(Conflict):
    """This attempt is no longer the run's newest, or the run has ended: nothing more of it is written."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What never changes about a run.

    created_at: RFC 3339, UTC. resolved: what the names in its spec meant when it was asked for, e.g. datasets' hashes.
    """

    id: str
    kind: str
    name: str | None
    spec: Mapping[str, Any]
    created_at: str
    resolved: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RunProgress:
    """How far a run is. eta_s: predicted seconds left, None while unknown."""

    step: int = 0
    total: int | None = None
    eta_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class RunState:
    """How a run stands.

    attempts: how often a worker has begun it. n_deaths: attempts that died since it was created or last resumed.
    has_checkpoint: resuming goes on from one. cancel_requested: it was asked to stop and still runs.
    queued_id: id of the event by which it was created or last resumed.
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

    @property
    def has_ended(self) -> bool:
        """Whether nothing works on it or will, unless it is resumed."""
        return self.status in ENDED


@dataclass(frozen=True, kw_only=True)
class NewEvent:
    """An event that has no number yet. time: RFC 3339, UTC. data: JSON values."""

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
    """A file that a run has left. sha256: 64 hexadecimal digits."""

    path: str
    n_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A link of a run's log: some events, and how the run stands after them.

    writer: a token of whoever wrote it, by which a repeated write knows its own first try.
    """

    first_id: int
    events: tuple[NewEvent, ...]
    state: RunState
    writer: str

    @property
    def next_id(self) -> int:
        """The id that the next chunk begins with."""
        return self.first_id + len(self.events)

    def numbered(self) -> list[StoredEvent]:
        """The events with their ids."""
        return [
            StoredEvent(id=number, type=event.type, time=event.time, data=event.data)
            for number, event in enumerate(self.events, self.first_id)
        ]

    def to_json(self) -> dict[str, Any]:
        """All fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any], *, label: str) -> Chunk:
        """The inverse of ``to_json``; DamagedArtifact for another form."""
        try:
            state = dict(found["state"])
            state["progress"] = RunProgress(**state["progress"])
            state["prompts"] = tuple(state["prompts"])
            events = tuple(NewEvent(**event) for event in found["events"])
            return cls(first_id=found["first_id"], events=events, state=RunState(**state), writer=found["writer"])
        except (KeyError, TypeError, ValueError) as error:
            raise DamagedArtifact(f"{label} is damaged: it has an unknown form.") from error


def record_json(record: RunRecord) -> dict[str, Any]:
    """A record's fields as JSON values."""
    return asdict(record)


def status_data(state: RunState, **more: object) -> dict[str, Any]:
    """Data of a ``status`` event."""
    return {"status": state.status, "progress": asdict(state.progress), **more}


def done_data(state: RunState) -> dict[str, Any]:
    """Data of a ``done`` event."""
    return status_data(state, metrics=dict(state.metrics), error=state.error)


def finite_json(value: Any) -> Any:
    """``value`` with None for every number that JSON does not know, at any depth."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: finite_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite_json(item) for item in value]
    return value


def cut(text: str) -> str:
    """``text``, or its beginning when it is longer than may be stored."""
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
