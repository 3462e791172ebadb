from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.service.api.conftest import World


@pytest.fixture
def document(world: World) -> dict[str, Any]:
    found: dict[str, Any] = world.client.get("/openapi.json").json()
    return found


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "$ref":
                yield inner
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    used = set(references(document))
    assert used - known == set()
    assert "#/components/schemas/HTTPValidationError" not in known


ROUTES = {
    ("/health", "get"),
    ("/ready", "get"),
    ("/metrics", "get"),
    ("/v1/capabilities", "get"),
    ("/v1/models", "get"),
    ("/v1/models/{model_id}", "get"),
    ("/v1/completions", "post"),
    ("/v1/chat/completions", "post"),
    ("/v1/files", "post"),
    ("/v1/files", "get"),
    ("/v1/files/{file_id}", "get"),
    ("/v1/files/{file_id}", "delete"),
    ("/v1/files/{file_id}/content", "get"),
    ("/v1/batches", "post"),
    ("/v1/batches", "get"),
    ("/v1/batches/{batch_id}", "get"),
    ("/v1/batches/{batch_id}/cancel", "post"),
    ("/tokenize", "post"),
    ("/detokenize", "post"),
    ("/v1/embeddings", "post"),
    ("/v1/activations", "post"),
    ("/v1/activations/estimate", "post"),
    ("/v1/activations/divergence", "post"),
    ("/v1/trajectories", "post"),
    ("/v1/prompts", "get"),
    ("/v1/prompts", "post"),
    ("/v1/prompts/{name}", "get"),
    ("/v1/prompts/{name}/versions", "get"),
    ("/v1/prompts/{name}/versions/{version}", "get"),
    ("/v1/prompts/{name}/versions/{version}", "delete"),
    ("/v1/prompts/{name}/versions/{version}/content", "get"),
    ("/v1/prompts/{name}/aliases/{alias}", "put"),
    ("/v1/prompts/{name}/aliases/{alias}", "delete"),
    ("/v1/runs", "get"),
    ("/v1/runs", "post"),
    ("/v1/runs/{run_id}", "get"),
    ("/v1/runs/{run_id}", "patch"),
    ("/v1/runs/{run_id}", "delete"),
    ("/v1/runs/{run_id}/cancel", "post"),
    ("/v1/runs/{run_id}/resume", "post"),
    ("/v1/runs/{run_id}/events", "get"),
    ("/v1/runs/{run_id}/metrics", "get"),
    ("/v1/runs/{run_id}/artifacts", "get"),
    ("/v1/runs/{run_id}/artifacts/{path}", "get"),
    ("/v1/priors/sample", "post"),
    ("/v1/datasets", "get"),
    ("/v1/datasets", "post"),
    ("/v1/datasets/{name}", "get"),
    ("/v1/datasets/{name}", "put"),
    ("/v1/datasets/{name}", "delete"),
    ("/v1/maps", "get"),
    ("/v1/maps/{map_id}", "get"),
    ("/v1/maps/{map_id}", "delete"),
    ("/v1/maps/{map_id}/project", "post"),
    ("/v1/maps/{map_id}/neighbors", "get"),
    ("/v1/prompts/{name}/versions/{version}/nearest", "get"),
}


def test_every_route_is_described(document: dict[str, Any]) -> None:
    described = {(path, method) for path, methods in document["paths"].items() for method in methods}
    assert described == ROUTES


def test_routes_that_need_a_key_say_so(document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert ("security" in operation) == (path not in ("/health", "/ready"))


def test_errors_have_the_shape_that_clients_of_the_route_read(document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        for operation in methods.values():
            for status, response in operation["responses"].items():
                if status < "400" or path == "/ready":
                    continue
                routes = ("/v1/completions", "/v1/chat/completions", "/v1/embeddings")
                is_openai = path in routes or path.startswith(("/v1/files", "/v1/batches"))
                expected = "application/json" if is_openai else "application/problem+json"
                assert list(response["content"]) == [expected], (path, status)


def test_bodies_are_described_in_each_form(document: dict[str, Any]) -> None:
    body = document["paths"]["/v1/activations"]["post"]["requestBody"]["content"]
    assert set(body) == {"application/json", "multipart/form-data"}
    result = document["paths"]["/v1/trajectories"]["post"]["responses"]["200"]["content"]
    assert set(result) == {"application/vnd.safetensors", "application/json"}


def test_the_body_of_a_run_has_one_alternative_for_each_kind(document: dict[str, Any]) -> None:
    body = document["paths"]["/v1/runs"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    specs = {each["properties"]["kind"]["const"]: each["properties"]["spec"]["$ref"] for each in body["oneOf"]}
    assert specs == {
        "tune": "#/components/schemas/TuneSpec",
        "distill": "#/components/schemas/DistillSpec",
        "evaluate": "#/components/schemas/EvaluateSpec",
        "generate": "#/components/schemas/GenerateSpec",
        "batch": "#/components/schemas/BatchSpec",
        "harvest": "#/components/schemas/HarvestSpec",
        "map": "#/components/schemas/MapSpec",
        "report": "#/components/schemas/ReportSpec",
        "sample": "#/components/schemas/SampleBody",
    }
    assert all(each["description"] for each in body["oneOf"])
