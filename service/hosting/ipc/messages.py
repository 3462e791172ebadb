"""What crosses the border between the API process and the engine process, pickled, on a socket that only they share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from service.engine.requests import Capture, Delta, Estimate, Failed, Generate, RowDone

# --- from the API process to the engine -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Submit:
    """Run a request on a model.

    tensors: a safetensors file with the values of the request's interventions (empty: there are none).
    values: for each intervention the name of its tensor, None for those that take none.
    metadata: what the API knows of the request; it goes into the header of a tensor result.
    n_context: of a chat without a limit of its own: it may go on until input and answer have this many tokens.
    """

    model: str
    request: Generate | Capture
    tensors: bytes = b""
    values: tuple[str | None, ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)
    n_context: int | None = None


@dataclass(frozen=True, kw_only=True)
class Ask:
    """Say what a capture would cost."""

    model: str
    request: Capture


@dataclass(frozen=True, kw_only=True)
class Cancel:
    """Nobody waits for this request any more."""

    request_id: str


FromApi = Submit | Ask | Cancel

# --- from the engine to the API process -------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class StoredResult:
    """A tensor result as safetensors: a file to be opened, unlinked and sent (``path``), or ``data`` when small."""

    n_bytes: int
    path: str | None = None
    data: bytes | None = None


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The request has ended well."""

    result: StoredResult | None = None


@dataclass(frozen=True, kw_only=True)
class Estimated:
    """Answer to :class:`Ask`."""

    estimate: Estimate


Happening = Delta | RowDone | Finished | Failed | Estimated


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What happened to one request in one step, in order."""

    request_id: str
    happenings: tuple[Happening, ...]


@dataclass(frozen=True, kw_only=True)
class EngineState:
    """What the engine process says of itself when a connection opens, and about once a second while it works.

    generation: 1 for the first engine process of a service, one more for each that replaced it.
    models: by name, the fields of the model's card. stats: by name, the counters of its engine.
    """

    generation: int
    pid: int
    models: Mapping[str, Mapping[str, Any]]
    stats: Mapping[str, Mapping[str, float]]


FromEngine = Reply | EngineState
