"""A run as the server reported it."""

from __future__ import annotations

from typing import Any

from promptatlas.errors import RunCancelledError, RunFailedError
from promptatlas.types import Progress, RunArtifact, RunStatus
from promptatlas.types import Run as RunInfo

ENDED: tuple[RunStatus, ...] = ("succeeded", "failed", "cancelled")


class RunView:
    """The properties of a run, as of the last response. info: the response."""

    def __init__(self, info: RunInfo) -> None:
        self.info = info

    @property
    def id(self) -> str:
        """Identifier of the run."""
        return self.info.id

    @property
    def kind(self) -> str:
        """Kind of the run: ``tune``, ``evaluate``, ``sample``, …"""
        return self.info.kind

    @property
    def name(self) -> str | None:
        """Display name."""
        return self.info.name

    @property
    def spec(self) -> dict[str, Any]:
        """The spec that the run was created with."""
        return self.info.spec

    @property
    def status(self) -> RunStatus:
        """``queued``, ``running``, ``succeeded``, ``failed`` or ``cancelled``."""
        return self.info.status

    @property
    def ended(self) -> bool:
        """Whether the run has ended. Only ``resume`` can continue it."""
        return self.info.status in ENDED

    @property
    def progress(self) -> Progress:
        """Step, total number of steps, and estimated seconds left."""
        return self.info.progress

    @property
    def outcome(self) -> dict[str, float]:
        """Final metrics by name, e.g. ``test/exact_match``; ``metrics()`` has those of every step."""
        return self.info.metrics

    @property
    def error(self) -> str | None:
        """The error of a failed run."""
        return self.info.error

    @property
    def prompts(self) -> list[str]:
        """References of the prompt versions that the run has created."""
        return self.info.prompts

    @property
    def notes(self) -> str:
        """Plain text that ``annotate`` has set."""
        return self.info.notes

    @property
    def tags(self) -> list[str]:
        """Tags that ``annotate`` has set."""
        return self.info.tags

    @property
    def artifacts(self) -> list[RunArtifact]:
        """Files that the run has written."""
        return self.info.artifacts

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={self.id!r}, kind={self.kind!r}, status={self.status!r})"


def require_success(info: RunInfo) -> None:
    """Raises RunFailedError or RunCancelledError if the run has failed or was cancelled."""
    if info.status == "cancelled":
        raise RunCancelledError(info.id)
    if info.status == "failed":
        raise RunFailedError(info.id, reason=info.error or "no reason given", attempts=info.attempts)


def require_kind(info: RunInfo, kind: str, *, verb: str) -> None:
    """Raises ValueError, which names the verb, unless the run is of this kind."""
    if info.kind != kind:
        raise ValueError(f"{verb}: expected a run of kind {kind!r}, got one of kind {info.kind!r}")


def timeout_message(info: RunInfo, *, timeout_s: float | None) -> str:
    """The message for a run that did not end in time."""
    of = f" of {info.progress.total}" if info.progress.total is not None else ""
    return f"run {info.id} is still {info.status} (step {info.progress.step}{of}) after {timeout_s:g} s; it continues"
