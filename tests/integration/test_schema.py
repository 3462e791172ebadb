"""What /openapi.json promises, held against the service with generated requests: good ones, and broken ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.generation.modes import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)
from schemathesis.transport.serialization import serialize_binary

from tests.integration.conftest import AUTH
from tests.integration.running import Service

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
]
GENERATING = ("/v1/completions", "/v1/chat/completions", "/v1/trajectories")
MAX_QUERY = 30_000
"""Characters; a longer request line is refused by the HTTP server itself, before any route."""

GENERATED = settings(
    max_examples=10,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def raw_bytes(_context: Any, value: Any) -> bytes:
    """What is sent for files: mostly rubbish, which must be refused politely."""
    return bytes(serialize_binary(value))


schemathesis.serializer("application/vnd.safetensors", "application/zip")(raw_bytes)


def aimed(case: Any) -> Any:
    """The case, asking for what is there: made-up names of models, prompts and sites get no further than a 404."""
    if isinstance(case.body, dict) and "model" in case.body:
        case.body["model"] = "tiny"
        case.body.pop("prompt_ref", None)
        case.body.pop("interventions", None)
        if "sites" in case.body:
            case.body["sites"] = ["resid_post"]
            case.body["layers"] = "all"
        if case.operation.path in GENERATING:
            case.body["max_tokens"] = 3
            case.body.pop("max_completion_tokens", None)
    return case


def check_with(strategy: Any) -> Callable[[], None]:
    def check(case: Any) -> None:
        assume(len(quote(str(case.query))) < MAX_QUERY)
        # A dataset of the hub is asked for over the network, which takes as long as the network does.
        assume("hub:" not in str(case.body) + str(case.path_parameters))
        case.call_and_validate(headers=AUTH, checks=CHECKS)

    checked: Callable[[], None] = GENERATED(given(case=strategy)(check))
    return checked


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_every_route_keeps_its_promises(service: Service, mode: GenerationMode) -> None:
    schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json", headers=AUTH)
    broken: list[str] = []
    n_operations = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        n_operations += 1
        strategy = operation.as_strategy(mode)
        if mode is GenerationMode.POSITIVE:
            strategy = strategy.map(aimed)
        try:
            check_with(strategy)()
        except Unsatisfiable:  # /health and /ready take nothing that could be wrong
            assert operation.path in ("/health", "/ready")
        except Exception as error:
            broken.append(f"{operation.method.upper()} {operation.path}: {error!r}\n{error}")
    assert not broken, "\n\n".join(broken)
    assert n_operations == 56
