from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from service.engine.requests import Delta, Failed, Generate, Sampling
from service.errors import Busy, InvalidRequest, NotFound
from service.hosting.ipc.messages import EstimateCost, Finished, Submit, Update
from tests.service.api.conftest import OpenWorld, World

URL = "/v1/completions"


def events(text: str) -> list[Any]:
    lines = [line for line in text.split("\n\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    return [line[6:] if line[6:] == "[DONE]" else json.loads(line[6:]) for line in lines]


def test_a_completion_has_openais_shape(world: World) -> None:
    answer = world.client.post(URL, json={"model": "demo", "prompt": "hi", "max_tokens": 3})
    body = answer.json()
    assert answer.status_code == 200
    assert (body["object"], body["model"]) == ("text_completion", "demo")
    assert body["choices"] == [{"index": 0, "text": "hi!0", "logprobs": None, "finish_reason": "length"}]
    assert body["usage"] == {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3}


def test_rows_are_numbered_inputs_first_and_an_input_counts_once(world: World) -> None:
    body = world.client.post(URL, json={"model": "demo", "prompt": ["a", "b"], "n": 2}).json()
    assert [choice["text"] for choice in body["choices"]] == ["a!0", "a!1", "b!2", "b!3"]
    assert body["usage"] == {"prompt_tokens": 4, "completion_tokens": 4, "total_tokens": 8}


def test_fields_reach_the_engine(world: World) -> None:
    world.client.post(
        URL,
        json={
            "model": "demo",
            "prompt": [[1, 2], [3]],
            "max_tokens": 5,
            "temperature": 0.5,
            "top_p": 0.9,
            "seed": 11,
            "top_k": 13,
            "min_p": 0.1,
            "repetition_penalty": 1.2,
            "presence_penalty": 0.3,
            "frequency_penalty": 0.4,
            "logit_bias": {"7": -3},
            "stop": ["x", "y"],
            "logprobs": 2,
            "echo": True,
            "user": "u",
        },
    )
    request = world.end.submitted[0].request
    assert isinstance(request, Generate)
    assert request.inputs == ((1, 2), (3,))
    assert (request.max_tokens, request.stop, request.logprobs, request.echo) == (5, ("x", "y"), 2, True)
    assert request.sampling == Sampling(
        temperature=0.5,
        top_p=0.9,
        seed=11,
        top_k=13,
        min_p=0.1,
        repetition_penalty=1.2,
        presence_penalty=0.3,
        frequency_penalty=0.4,
        logit_bias={7: -3.0},
    )


def test_logprobs_stand_in_columns(world: World) -> None:
    body = world.client.post(URL, json={"model": "demo", "prompt": "hi", "logprobs": 1}).json()
    assert body["choices"][0]["logprobs"] == {
        "tokens": ["hi!0"],
        "token_logprobs": [-0.5],
        "top_logprobs": [{"z": -0.25, "hi!0": -0.5}],
        "text_offset": [0],
    }


def test_a_stream_ends_in_done_and_asks_the_engine_to_stream(world: World) -> None:
    answer = world.client.post(
        URL, json={"model": "demo", "prompt": "hi", "stream": True, "stream_options": {"include_usage": True}}
    )
    assert answer.headers["content-type"].startswith("text/event-stream")
    text, end, usage, done = events(answer.text)
    assert (text["choices"][0]["text"], text["choices"][0]["finish_reason"]) == ("hi!0", None)
    assert end["choices"][0]["finish_reason"] == "length"
    assert (usage["choices"], usage["usage"]["total_tokens"]) == ([], 3)
    assert done == "[DONE]"
    request = world.end.submitted[0].request
    assert isinstance(request, Generate)
    assert request.stream


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status"), [(NotFound("no"), 404), (Busy("full", retry_after_s=1.2), 429), (InvalidRequest("bad"), 422)]
)
def test_an_error_before_the_first_token_is_a_status(
    open_world: OpenWorld, stream: bool, error: Any, status: int
) -> None:
    def refuse(message: Submit | EstimateCost) -> Sequence[Update]:
        return [Failed(request_id=message.request.request_id, error=error)]

    answer = open_world(script=refuse).client.post(URL, json={"model": "demo", "prompt": "x", "stream": stream})
    assert answer.status_code == status
    assert answer.json()["error"]["message"] == error.detail
    assert answer.headers.get("retry-after") == ("2" if status == 429 else None)


def test_an_error_inside_a_stream_is_its_last_event(open_world: OpenWorld) -> None:
    def break_off(message: Submit | EstimateCost) -> Sequence[Update]:
        id_ = message.request.request_id
        delta = Delta(request_id=id_, row=0, text="so far", token_ids=(1,))
        return [delta, Failed(request_id=id_, error=InvalidRequest("broke"))]

    answer = open_world(script=break_off).client.post(URL, json={"model": "demo", "prompt": "x", "stream": True})
    text, error = events(answer.text)
    assert text["choices"][0]["text"] == "so far"
    assert error["error"]["message"] == "broke"


def test_empty_deltas_are_not_sent(open_world: OpenWorld) -> None:
    def hold_back(message: Submit | EstimateCost) -> Sequence[Update]:
        id_ = message.request.request_id
        return [
            Delta(request_id=id_, row=0, text="", token_ids=(1,)),
            Delta(request_id=id_, row=0, text="é", token_ids=(2,)),
            Finished(),
        ]

    answer = open_world(script=hold_back).client.post(URL, json={"model": "demo", "prompt": "x", "stream": True})
    assert [event["choices"][0]["text"] for event in events(answer.text)[:-1]] == ["é"]


@pytest.mark.parametrize(
    "change",
    [
        {"best_of": 2},
        {"max_tokens": "many"},
        {"temperature": 3},
        {"prompt": []},
        {"logprobs": 21},
        {"stream_options": {"include_usage": True}},
    ],
)
def test_what_is_not_supported_is_refused_in_openais_shape(world: World, change: dict[str, Any]) -> None:
    answer = world.client.post(URL, json={"model": "demo", "prompt": "x", **change})
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_request")
    assert world.end.submitted == []


def test_an_unknown_model_is_openais_404(world: World) -> None:
    answer = world.client.post(URL, json={"model": "nope", "prompt": "x"})
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"
    assert answer.json()["error"]["param"] == "model"
