from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Mapping

import pytest

from service.__main__ import main
from service.settings import SettingsError
from service.tracing.opening import is_traced, open_tracer, require_tracing

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:1/v1/traces"}, True),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "true"}, False),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_traces_are_on_with_an_endpoint(environ: Mapping[str, str], expected: bool) -> None:
    assert is_traced(environ) == expected
    require_tracing(environ)
    if not expected:
        assert open_tracer(environ, process="api") is None


def test_only_http_is_exported() -> None:
    require_tracing({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"})
    with pytest.raises(SettingsError, match="expected http/protobuf, got 'grpc'"):
        require_tracing({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})


def test_a_missing_package_is_named_at_the_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if "exporter" in name else find(name, *more)
    )
    assert main(ENDPOINT) == 2
    assert "pip install 'promptatlas-server[otel]'" in capsys.readouterr().err


def test_without_an_endpoint_nothing_of_the_sdk_is_imported() -> None:
    code = (
        "import sys, service.app, workers.jobs\n"
        "from service.tracing.opening import open_tracer, require_tracing\n"
        "require_tracing({})\n"
        "assert open_tracer({}, process='api') is None\n"
        # The Redis client imports the SDK's metrics by itself where the SDK is installed.
        "ours = ('opentelemetry.sdk.trace', 'opentelemetry.exporter', 'service.tracing.otel')\n"
        "print(*[name for name in sys.modules if name.startswith(ours)])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""
