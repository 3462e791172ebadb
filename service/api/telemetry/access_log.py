"""Access line: one log line per request, for audits and costs, written when the response has ended."""

from __future__ import annotations

from typing import Any

import structlog
from starlette.types import Scope

from service.api.telemetry.request_record import RequestRecord
from service.errors import AtlasError

QUIET_PATHS = frozenset({"/health", "/ready", "/metrics"})
"""Probes and metrics: not logged, and answered until the service ends."""

_MAX_PATH = 256

_log = structlog.get_logger("service.access")


def write_access_line(scope: Scope, record: RequestRecord, *, route: str, status: int, seconds: float) -> None:
    """Log a request. Fields without a value are left out; texts of clients and keys are never among them."""
    if scope["path"] in QUIET_PATHS:
        return
    fields: dict[str, Any] = {
        "method": scope["method"],
        "route": route,
        "path": _path_of(scope),
        "status": status,
        "seconds": round(seconds, 4),
        "caller": scope["state"].get("caller"),
        "client": scope["client"][0] if scope.get("client") else None,
        "model": record.model,
        "prompt": record.prompt,
        "prompt_sha256": record.prompt_sha256,
        **_usage_of(record),
        "error": _error_of(record),
        "incomplete": None if record.is_complete else True,
        "trace_id": None if record.span is None else record.span.trace_id,
    }
    _log.info("request", **{name: value for name, value in fields.items() if value is not None})


def _path_of(scope: Scope) -> str:
    # Percent-encoded as it was sent: a decoded line break would begin a line of its own.
    raw: bytes = scope.get("raw_path") or scope["path"].encode("ascii", "backslashreplace")
    return raw.decode("ascii", "backslashreplace")[:_MAX_PATH]


def _usage_of(record: RequestRecord) -> dict[str, int]:
    known = [usage for usage in record.usages if usage.is_known]
    if not known:
        return {}
    return {
        "prompt_tokens": sum(usage.n_input for usage in known),
        "completion_tokens": sum(usage.n_generated for usage in known),
        "rows": sum(usage.n_rows for usage in known),
    }


def _error_of(record: RequestRecord) -> str | None:
    """Title of an error for the client, which has no text of the client; else its class."""
    if record.error is None:
        return None
    return record.error.title if isinstance(record.error, AtlasError) else type(record.error).__name__
