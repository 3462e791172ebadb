"""Whether traces are configured, by the environment variables of OpenTelemetry."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

from service.settings import SettingsError
from service.tracing.spans import Tracer

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"
_PACKAGES = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http.trace_exporter")


def is_traced(environ: Mapping[str, str]) -> bool:
    """Whether an endpoint is set and tracing is not disabled."""
    is_disabled = environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    is_off = environ.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower() == "none"
    return _first(environ, _ENDPOINTS) is not None and not is_disabled and not is_off


def require_tracing(environ: Mapping[str, str]) -> None:
    """Check that traces can be exported, if they are configured.

    Raises:
        SettingsError: another protocol than HTTP is configured, or the packages are not installed.
    """
    if not is_traced(environ):
        return
    protocol = _first(environ, _PROTOCOLS)
    if protocol not in (None, _PROTOCOL):
        raise SettingsError(f"OTEL_EXPORTER_OTLP_PROTOCOL: expected {_PROTOCOL}, got {protocol!r}")
    if not all(map(_is_installed, _PACKAGES)):
        raise SettingsError(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but OpenTelemetry is not installed: pip install 'promptatlas-server[otel]'"
        )


def open_tracer(environ: Mapping[str, str], *, process: str) -> Tracer | None:
    """The tracer of this process; None without an endpoint. Call it after a fork, because it starts a thread.

    Args:
        environ: like ``os.environ``.
        process: name of the process, for the resource of its spans.
    """
    if not is_traced(environ):
        return None
    from service.tracing.otel import OtelTracer

    return OtelTracer.exporting(environ, process=process)


def _first(environ: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((value for name in names if (value := environ.get(name, "").strip())), None)


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
