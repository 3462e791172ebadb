"""Interface of tracing. The processes know only this module, so that nothing of OpenTelemetry is imported without traces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

Attributes = Mapping[str, str | bool | int | float | Sequence[str]]
SpanKind = Literal["internal", "server", "consumer"]


class Span(Protocol):
    """One span. Times are nanoseconds since the epoch."""

    @property
    def traceparent(self) -> str:
        """The span's context in the format of W3C, for other processes."""

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""

    def rename(self, name: str) -> None:
        """Replace the name."""

    def set(self, attributes: Attributes) -> None:
        """Set attributes."""

    def fail(self, error_type: str) -> None:
        """Mark the span as failed."""

    def record(self, error: BaseException) -> None:
        """Mark the span as failed, and add the exception. Of an error for the client, only class and title are added."""

    def end(self, *, at_ns: int | None = None) -> None:
        """End the span; now by default."""


class Tracer(Protocol):
    """Creates the spans of one process."""

    def start(
        self,
        name: str,
        *,
        kind: SpanKind = "internal",
        parent: str | None = None,
        links: Sequence[str] = (),
        at_ns: int | None = None,
        attributes: Attributes | None = None,
    ) -> Span:
        """Start a span.

        Args:
            parent: ``traceparent`` of the parent; an invalid one is ignored, as W3C demands.
            links: ``traceparent`` of spans that it is linked to.
            at_ns: when it started; now by default.
        """

    def close(self) -> None:
        """Export the spans that have ended, within seconds."""
