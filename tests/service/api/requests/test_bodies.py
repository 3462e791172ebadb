"""What large invalid bodies cost: the number of faults that are made, and the thread that makes them."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError
from promptatlas.types import ActivationRequest, CompletionRequest, RequestBody
from pydantic import ValidationError

from service.api.requests import bodies, faults
from service.api.requests.first_faults import first_fault_validator
from tests.service.api.conftest import World

N = 40_000
COMPLETION = {"model": "demo", "prompt": "hi"}
CAPTURE = {"model": "demo", "inputs": ["hi"], "sites": ["resid_post"], "layers": [1]}

INVALID: dict[str, tuple[type[RequestBody], dict[str, Any]]] = {
    "token ids": (CompletionRequest, {**COMPLETION, "prompt": [[None] * N]}),
    "prompts": (CompletionRequest, {**COMPLETION, "prompt": [None] * N}),
    "biases": (CompletionRequest, {**COMPLETION, "logit_bias": {f"{i}x": "b" for i in range(N)}}),
    "layers": (ActivationRequest, {**CAPTURE, "layers": ["x"] * N}),
    "inputs": (ActivationRequest, {**CAPTURE, "inputs": [["x"] * 10] * (N // 10)}),
}


@pytest.mark.parametrize("name", INVALID)
def test_a_large_invalid_body_has_one_fault_for_each_list(name: str) -> None:
    kind, body = INVALID[name]
    data = json.dumps(body).encode()
    with pytest.raises(ValidationError) as found:
        first_fault_validator(kind).validate_json(data)
    assert 1 <= found.value.error_count() < 10
    with pytest.raises(RequestValidationError) as listed:
        bodies._validated(kind, data)
    assert 1 <= len(listed.value.errors()) < 10


def test_a_small_body_has_all_its_faults() -> None:
    data = json.dumps({**CAPTURE, "layers": ["x", "y", 1, "z"], "dtype": 3}).encode()
    with pytest.raises(RequestValidationError) as listed:
        bodies._validated(ActivationRequest, data)
    # "layers" may also be the text "all".
    assert {fault["loc"] for fault in listed.value.errors()} >= {
        ("layers", 0),
        ("layers", 1),
        ("layers", 3),
        ("dtype",),
    }


@pytest.mark.parametrize(("kind", "body"), [(CompletionRequest, COMPLETION), (ActivationRequest, CAPTURE)])
def test_a_valid_body_is_the_same_object_with_either_validator(kind: type[RequestBody], body: dict[str, Any]) -> None:
    data = json.dumps(body).encode()
    assert first_fault_validator(kind).validate_json(data) == kind.model_validate_json(data)


def test_faults_are_compared_by_location_not_with_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    data = json.dumps({**COMPLETION, "prompt": [[None]] * 300}).encode()
    with pytest.raises(ValidationError) as found:
        CompletionRequest.model_validate_json(data)
    calls: list[int] = []
    better = faults._better

    def count(locs: Sequence[Any], of_members: Sequence[bool]) -> set[Any]:
        calls.append(len(locs))
        return better(locs, of_members)

    monkeypatch.setattr(faults, "_better", count)
    listed = faults.faults_of(found.value, data=data)
    assert calls == [found.value.error_count()]
    assert [fault["loc"] for fault in listed] == [("prompt", i, 0) for i in range(300)]


def test_large_bodies_are_validated_one_at_a_time_in_their_own_thread(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    validated = bodies._validated

    def record(kind: Any, data: bytes) -> Any:
        names.append(threading.current_thread().name)
        return validated(kind, data)

    monkeypatch.setattr(bodies, "_validated", record)
    for _ in range(3):
        answer = world.client.post("/v1/activations", json=INVALID["layers"][1])
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["loc"][0] == "layers"
    assert world.client.post("/v1/activations", json={**CAPTURE, "layers": ["x"]}).status_code == 422
    assert set(names[:3]) == {"parse-bodies_0"}
    assert names[3] != names[0]
