"""Requests that the wire contract accepts or refuses."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest
from promptatlas import types

COMPLETION: dict[str, Any] = {"model": "demo", "prompt": "x"}
CHAT: dict[str, Any] = {"model": "demo", "messages": [{"role": "user", "content": "x"}]}
ACTIVATION: dict[str, Any] = {"model": "demo", "inputs": ["x"], "sites": ["resid_post"]}


def refused(model: type[pydantic.BaseModel], body: dict[str, Any]) -> list[tuple[str | int, ...]]:
    with pytest.raises(pydantic.ValidationError) as caught:
        model.model_validate(body)
    return [fault["loc"] for fault in caught.value.errors()]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", []),
        ("prompt", [[]]),
        ("prompt", [-1]),
        ("prompt", [True]),
        ("prompt", [1.0]),
        ("prompt", ["a", 1]),
        ("prompt", None),
        ("prompt", "\ud800"),
        ("prompt", ["x"] * 4097),
        ("model", ""),
        ("max_tokens", -1),
        ("max_tokens", "16"),
        ("max_tokens", 2**31),
        ("n", 0),
        ("n", 129),
        ("n", True),
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", float("nan")),
        ("temperature", 10**400),
        ("temperature", "1"),
        ("top_p", 0),
        ("top_p", 1.1),
        ("top_k", -2),
        ("min_p", float("inf")),
        ("min_p", 1.5),
        ("repetition_penalty", 0),
        ("presence_penalty", 2.5),
        ("frequency_penalty", -2.5),
        ("logprobs", -1),
        ("logprobs", 21),
        ("logprobs", True),
        ("seed", 2**63),
        ("seed", -(2**63) - 1),
        ("stop", ""),
        ("stop", ["a", ""]),
        ("stop", list("abcdefghijklmnopq")),
        ("logit_bias", {"a": 1}),
        ("logit_bias", {"-1": 1}),
        ("logit_bias", {"1": 100.5}),
        ("stream", "yes"),
        ("best_of", 2),
        ("suffix", "x"),
        ("prompt_ref", "QA"),
        ("prompt_ref", "qa@"),
        ("prompt_ref", "qa@0"),
        ("prompt_ref", "sha256:12"),
        ("prompt_ref", {"mix": []}),
        ("prompt_ref", {"mix": [{"ref": "a@1", "weight": float("nan")}]}),
        ("prompt_ref", {"mix": [{"ref": "a@1"}]}),
        ("prompt_ref", {"concat": ["a@1"]}),
        ("prompt_ref", {"concat": ["a@1", "B"]}),
        ("prompt_ref", {"concat": ["a@1", {"ref": "b", "weight": 1}]}),
        ("prompt_ref", {"concat": ["a", "b"], "mix": []}),
        ("prompt_ref", 3),
    ],
)
def test_completions_refuse(field: str, value: Any) -> None:
    assert any(field in loc for loc in refused(types.CompletionRequest, {**COMPLETION, field: value}))


@pytest.mark.parametrize("ref", ["qa", "qa@3", "qa@production", "qa@2b", "0.x-y_z", "sha256:" + "0f" * 32, "a" * 64])
def test_prompt_references(ref: str) -> None:
    assert types.CompletionRequest.model_validate({**COMPLETION, "prompt_ref": ref}).prompt_ref == ref


@pytest.mark.parametrize("field", ["n", "temperature", "top_p", "presence_penalty", "frequency_penalty", "max_tokens"])
def test_null_means_the_default(field: str) -> None:
    assert types.CompletionRequest.model_validate({**COMPLETION, field: None}) == types.CompletionRequest(**COMPLETION)


def test_defaults_are_openais() -> None:
    request = types.CompletionRequest(**COMPLETION)
    assert (request.max_tokens, request.n, request.temperature, request.top_p, request.stream) == (
        16,
        1,
        1.0,
        1.0,
        False,
    )
    assert (request.logprobs, request.seed, request.stop_strings, request.token_biases) == (None, None, (), {})
    assert (request.top_k, request.min_p, request.repetition_penalty, request.prompt_ref) == (0, 0.0, 1.0, None)


@pytest.mark.parametrize(
    ("prompt", "inputs"),
    [("a", ["a"]), (["a", "b"], ["a", "b"]), ([1, 2], [[1, 2]]), ([[1], [2, 3]], [[1], [2, 3]]), ("", [""])],
)
def test_the_four_forms_of_a_prompt(prompt: Any, inputs: Any) -> None:
    assert types.CompletionRequest(model="demo", prompt=prompt).inputs == inputs


def test_equivalent_forms_of_fields() -> None:
    request = types.CompletionRequest(**COMPLETION, stop="a", logit_bias={"7": -100}, top_k=-1)
    assert (request.stop_strings, request.token_biases, request.top_k) == (("a",), {7: -100.0}, 0)
    assert types.CompletionRequest(**COMPLETION, stop=["a", "b"]).stop_strings == ("a", "b")


def test_chat() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    body = {"model": "demo", "messages": [{"role": "user", "content": parts}], "max_completion_tokens": 3}
    request = types.ChatCompletionRequest.model_validate(body)
    assert (request.messages[0].text, request.token_limit) == ("ab", 3)
    assert types.ChatCompletionRequest.model_validate({**CHAT, "max_tokens": 4}).token_limit == 4
    assert types.ChatCompletionRequest.model_validate(CHAT).token_limit is None


@pytest.mark.parametrize(
    "more",
    [
        {"top_logprobs": 3},
        {"logprobs": True, "top_logprobs": 21},
        {"logprobs": 3},
        {"max_tokens": 3, "max_completion_tokens": 4},
        {"messages": []},
        {"messages": [{"role": "tool", "content": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        {"messages": [{"role": "user", "content": None}]},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"prompt": "x"},
        {"stream_options": {"include_usage": True}},
    ],
)
def test_chat_refuses(more: dict[str, Any]) -> None:
    refused(types.ChatCompletionRequest, {**CHAT, **more})


@pytest.mark.parametrize(
    "more",
    [
        {"layers": [-1, 0]},
        {"layers": "all"},
        {"positions": "last"},
        {"positions": [0, -1]},
        {"positions": {"start": 1, "stop": None}},
        {"positions": {}},
        {"reduce": "norm"},
        {"reduce": {"project": "map-1"}},
        {"reduce": None},
        {"dtype": "bfloat16", "include_virtual": True},
        {"inputs": ["a", [1, 2]]},
        {"sites": ["blocks.3.hook_resid_post", "model.layers.3.mlp.gate_proj"]},
        {"interventions": [{"site": "resid_post", "op": "scale", "strength": 0.5, "positions": "generated"}]},
    ],
)
def test_activations(more: dict[str, Any]) -> None:
    body = {**ACTIVATION, **more}
    assert types.ActivationRequest.model_validate(body).model_dump(exclude_unset=True) == body


@pytest.mark.parametrize(
    "more",
    [
        {"inputs": []},
        {"inputs": [[]]},
        {"inputs": "x"},
        {"inputs": ["x"] * 4097},
        {"sites": []},
        {"sites": "resid_post"},
        {"sites": [""]},
        {"sites": ["__import__('os')"]},
        {"layers": []},
        {"layers": "some"},
        {"layers": [1.5]},
        {"positions": "generated"},
        {"positions": []},
        {"positions": {"start": 1, "step": 2}},
        {"reduce": "max"},
        {"reduce": {}},
        {"dtype": "int8"},
        {"max_tokens": 3},
        {"interventions": [{"site": "resid_post", "op": "add"}]},
        {"interventions": [{"site": "resid_post", "op": "scale", "value": "v"}]},
        {"interventions": [{"site": "resid_post", "op": "run", "value": "v"}]},
        {"interventions": [{"site": "resid_post", "op": "add", "value": "v", "code": "x"}]},
    ],
)
def test_activations_refuse(more: dict[str, Any]) -> None:
    refused(types.ActivationRequest, {**ACTIVATION, **more})


def test_trajectories_have_the_fields_of_both() -> None:
    body = {**ACTIVATION, "layers": [3], "reduce": "norm", "seed": 1, "n": 2, "stop": ["."], "include_input": False}
    request = types.TrajectoryRequest.model_validate(body)
    assert (request.max_tokens, request.n, request.include_input, request.layers) == (16, 2, False, [3])


@pytest.mark.parametrize("more", [{"stream": True}, {"echo": True}, {"logprobs": 2}, {"positions": "last"}])
def test_trajectories_refuse_what_they_would_ignore(more: dict[str, Any]) -> None:
    assert types.TrajectoryRequest.model_validate({**ACTIVATION, "stream": False, "echo": False, "logprobs": 0})
    refused(types.TrajectoryRequest, {**ACTIVATION, **more})


@pytest.mark.parametrize("version", [0, -1, "1", 1.0, True])
def test_aliases_are_references(version: Any) -> None:
    assert types.AliasBody(version=1).version == 1
    refused(types.AliasBody, {"version": version})


@pytest.mark.parametrize(
    ("alias", "good"), [("production", True), ("2b", True), ("2", False), ("", False), ("A", False), ("v" * 65, False)]
)
def test_an_alias_cannot_be_taken_for_a_version(alias: str, good: bool) -> None:
    adapter = pydantic.TypeAdapter(types.AliasName)
    if good:
        assert adapter.validate_python(alias) == alias
    else:
        with pytest.raises(pydantic.ValidationError):
            adapter.validate_python(alias)


def test_an_interpolation_takes_its_ends_by_their_names_in_python_too() -> None:
    ends: dict[str, Any] = {"from": {"kind": "xavier"}, "to": {"kind": "vocabulary"}}
    by_name = types.InterpolationPrior(from_=types.XavierPrior(), to=types.VocabularyPrior())
    assert by_name == types.InterpolationPrior.model_validate({"kind": "interpolation", **ends})
    assert by_name.model_dump(by_alias=True) == {"kind": "interpolation", **ends}
    assert set(types.InterpolationPrior.model_json_schema()["$defs"]["InterpolationPrior"]["properties"]) == {
        "kind",
        "from",
        "to",
    }


@pytest.mark.parametrize("name", types.__all__)
def test_every_message_has_a_schema(name: str) -> None:
    kind = getattr(types, name)
    if isinstance(kind, type) and issubclass(kind, pydantic.BaseModel) and name != "ListPage":
        schema = kind.model_json_schema()
        # The schema of a recursive type is a definition, which is referenced.
        own = schema["$defs"][name] if "$ref" in schema else schema
        assert own["type"] == "object"
        assert kind.__doc__


def test_null_is_in_the_schema_where_it_is_taken() -> None:
    field = types.CompletionRequest.model_json_schema()["properties"]["temperature"]
    assert {"type": "null"} in field["anyOf"]
    assert {"type": "number", "minimum": 0, "maximum": 2} in field["anyOf"]


def test_answers_keep_what_they_do_not_know() -> None:
    health = types.Health.model_validate({"status": "ok", "uptime_s": 3})
    assert health.model_dump() == {"status": "ok", "uptime_s": 3}


def test_json_results_have_tensors_under_their_own_names() -> None:
    metadata = {"model": "demo", "revision": "r", "dtype": "float32", "attention": "sdpa", "request_id": "req_1"}
    body = {"resid_post.3": [[1.0, 2.0]], "row_offsets": [0, 1], "promptatlas": metadata}
    result = types.ActivationsJson.model_validate(body)
    assert result.model_dump(mode="json")["resid_post.3"] == [[1.0, 2.0]]
    with pytest.raises(pydantic.ValidationError):
        types.ActivationsJson.model_validate({**body, "embed": 3})
