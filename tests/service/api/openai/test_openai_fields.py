"""Fields of OpenAI's routes: values without effect pass, all others are refused, and errors name the field that was sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from service.engine.requests import Delta, Failed, Generate, RankedToken, RowDone
from service.errors import ContextLengthExceeded
from service.hosting.ipc.messages import EstimateCost, Finished, Submit, Update
from tests.service.api.conftest import OpenWorld, World

COMPLETIONS, CHAT = "/v1/completions", "/v1/chat/completions"
BODIES: dict[str, dict[str, Any]] = {
    COMPLETIONS: {"model": "demo", "prompt": "hi"},
    CHAT: {"model": "demo", "messages": [{"role": "user", "content": "hi"}]},
}
SHARED: list[dict[str, Any]] = [
    {"n": None, "stop": None, "seed": None, "user": None, "logit_bias": None, "stream_options": None},
    {"metadata": {"purpose": "test"}},
    {"service_tier": "auto", "safety_identifier": "someone", "prompt_cache_key": "k"},
    {"stream": True, "stream_options": {"include_usage": False, "include_obfuscation": False}},
]
OF_COMPLETIONS: list[dict[str, Any]] = [{"best_of": 1}, {"best_of": 2, "n": 2}, {"best_of": None}, {"suffix": None}]
OF_CHATS: list[dict[str, Any]] = [
    {"store": False, "response_format": {"type": "text"}, "modalities": ["text"]},
    {"tools": [], "tool_choice": "none", "parallel_tool_calls": True, "functions": [], "function_call": "auto"},
    {"store": None, "response_format": None, "tools": None, "tool_choice": None, "parallel_tool_calls": None},
    {"audio": None, "prediction": None, "reasoning_effort": None, "verbosity": None, "web_search_options": None},
]


@pytest.mark.parametrize(
    ("url", "fields"),
    [(url, fields) for url, own in ((COMPLETIONS, OF_COMPLETIONS), (CHAT, OF_CHATS)) for fields in [*SHARED, *own]],
)
def test_values_without_effect_pass(world: World, url: str, fields: dict[str, Any]) -> None:
    assert world.client.post(url, json={**BODIES[url], **fields}).status_code == 200
    sent, plain = world.end.submitted[0].request, {**BODIES[url], "n": fields.get("n"), "stream": fields.get("stream")}
    world.client.post(url, json=plain)
    expected = world.end.submitted[1].request
    assert {**vars(sent), "request_id": ""} == {**vars(expected), "request_id": ""}


@pytest.mark.parametrize(
    ("url", "fields", "param"),
    [
        (COMPLETIONS, {"best_of": 2}, "best_of"),
        (COMPLETIONS, {"best_of": 1, "n": 2}, "best_of"),
        (COMPLETIONS, {"suffix": "end"}, "suffix"),
        (COMPLETIONS, {"max_tokens": -1}, "max_tokens"),
        (COMPLETIONS, {"stop": ["s"] * 17}, "stop"),
        (COMPLETIONS, {"stop": ["s", ""]}, "stop.1"),
        (COMPLETIONS, {"stop": 3}, "stop"),
        (COMPLETIONS, {"prompt": None}, "prompt"),
        (COMPLETIONS, {"unknown": 1}, "unknown"),
        (CHAT, {"max_tokens": 0}, "max_tokens"),
        (CHAT, {"store": True}, "store"),
        (CHAT, {"service_tier": "flex"}, "service_tier"),
        (CHAT, {"response_format": {"type": "json_object"}}, "response_format.type"),
        (CHAT, {"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        (CHAT, {"tool_choice": "required"}, "tool_choice"),
        (CHAT, {"reasoning_effort": "low"}, "reasoning_effort"),
        (CHAT, {"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        (CHAT, {"messages": [{"role": "user"}]}, "messages.0.content"),
        (
            CHAT,
            {"messages": [{"role": "user", "content": [{"type": "image", "text": ""}]}]},
            "messages.0.content.0.type",
        ),
    ],
)
def test_values_with_effect_are_refused_by_name(world: World, url: str, fields: dict[str, Any], param: str) -> None:
    answer = world.client.post(url, json={**BODIES[url], **fields})
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error["param"] == param
    assert error["message"].startswith(f"{param}: ")
    assert "constrained" not in error["message"]
    assert world.end.submitted == []


def test_a_list_that_is_too_long_is_not_called_a_wrong_type(world: World) -> None:
    answer = world.client.post(COMPLETIONS, json={**BODIES[COMPLETIONS], "stop": ["s"] * 17})
    assert answer.json()["error"]["message"] == "stop: List should have at most 16 items after validation, not 17"


def test_tools_are_called_unsupported(world: World) -> None:
    answer = world.client.post(CHAT, json={**BODIES[CHAT], "tools": [{"type": "function"}]})
    said = "tools: not supported by this server: expected an empty list or null, got 1 items"
    assert answer.json()["error"]["message"] == said


def test_sixteen_stop_strings_and_no_tokens_reach_the_engine(world: World) -> None:
    stop = [f"s{i}" for i in range(16)]
    world.client.post(COMPLETIONS, json={**BODIES[COMPLETIONS], "stop": stop, "max_tokens": 0, "echo": True})
    request = world.end.submitted[0].request
    assert isinstance(request, Generate)
    assert (request.stop, request.max_tokens, request.echo) == (tuple(stop), 0, True)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("url", "prompt", "param"),
    [
        (COMPLETIONS, "hi", "prompt"),
        (COMPLETIONS, [1, 2], "prompt"),
        (COMPLETIONS, ["a", "b"], "prompt.1"),
        (CHAT, None, "messages"),
    ],
)
def test_errors_of_the_engine_name_the_field_that_was_sent(
    open_world: OpenWorld, url: str, prompt: Any, param: str, stream: bool
) -> None:
    def refuse(message: Submit | EstimateCost) -> Sequence[Update]:
        error = ContextLengthExceeded("too long", loc=("inputs", 1))
        return [Failed(request_id=message.request.request_id, error=error)]

    body = {**BODIES[url], "stream": stream, **({} if prompt is None else {"prompt": prompt})}
    answer = open_world(script=refuse).client.post(url, json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, param)
    # The code by which clients know that a shorter text would do.
    assert answer.json()["error"]["code"] == "context_length_exceeded"


def test_messages_reach_the_template_with_names_and_known_roles(world: World) -> None:
    generated: dict[str, Any] = {
        "role": "assistant",
        "content": "yes",
        "refusal": None,
        "tool_calls": None,
        "annotations": [],
    }
    messages = [{"role": "developer", "content": "be"}, {"role": "user", "content": "hi", "name": "ann"}, generated]
    assert world.client.post(CHAT, json={"model": "demo", "messages": messages}).status_code == 200
    request = world.end.submitted[0].request
    assert isinstance(request, Generate)
    assert request.messages == (
        {"role": "system", "content": "be"},
        {"role": "user", "content": "hi", "name": "ann"},
        {"role": "assistant", "content": "yes"},
    )


@pytest.mark.parametrize("url", [COMPLETIONS, CHAT])
def test_fields_of_vllm_reach_the_engine(world: World, url: str) -> None:
    fields = {"min_tokens": 2, "ignore_eos": True, "stop_token_ids": [5, 7], "skip_special_tokens": False}
    assert world.client.post(url, json={**BODIES[url], **fields, "prompt_logprobs": 0}).status_code == 200
    assert (
        world.client.post(url, json={**BODIES[url], **dict.fromkeys([*fields, "prompt_logprobs"])}).status_code == 200
    )
    requests = [job.request for job in world.end.submitted]
    assert all(isinstance(request, Generate) for request in requests)
    names = [*fields, "prompt_logprobs"]
    assert [getattr(requests[0], name) for name in names] == [2, True, (5, 7), False, 0]
    assert [getattr(requests[1], name) for name in names] == [0, False, (), True, None]


@pytest.mark.parametrize("url", [COMPLETIONS, CHAT])
def test_prompt_logprobs_are_in_vllms_place_and_only_on_request(open_world: OpenWorld, url: str) -> None:
    tokens = (
        (
            RankedToken(token_id=8, text="b", logprob=-3.5, rank=9),
            RankedToken(token_id=3, text="z", logprob=-0.5, rank=1),
        ),
        (RankedToken(token_id=3, text="z", logprob=float("-inf"), rank=97),),
    )

    def score(message: Submit | EstimateCost) -> Sequence[Update]:
        id_ = message.request.request_id
        delta = Delta(request_id=id_, row=0, text="x", token_ids=(3,), prompt_logprobs=tokens)
        return [delta, RowDone(request_id=id_, row=0, finish_reason="stop", n_input=3, n_generated=1), Finished()]

    client = open_world(script=score).client
    body = client.post(url, json={**BODIES[url], "prompt_logprobs": 1}).json()
    place, other = (body["choices"][0], body) if url == COMPLETIONS else (body, body["choices"][0])
    assert place["prompt_logprobs"] == [
        None,
        {
            "8": {"logprob": -3.5, "rank": 9, "decoded_token": "b"},
            "3": {"logprob": -0.5, "rank": 1, "decoded_token": "z"},
        },
        {"3": {"logprob": -9999.0, "rank": 97, "decoded_token": "z"}},
    ]
    assert "prompt_logprobs" not in other
    assert "prompt_logprobs" not in client.post(url, json=BODIES[url]).text
    assert "prompt_logprobs" not in client.post(url, json={**BODIES[url], "stream": True}).text
    refused = client.post(url, json={**BODIES[url], "stream": True, "prompt_logprobs": 1})
    assert (refused.status_code, "prompt_logprobs" in refused.json()["error"]["message"]) == (422, True)
