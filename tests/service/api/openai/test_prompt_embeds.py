"""``prompt_embeds`` on the wire: what the engine receives, and what is refused."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save
from safetensors.torch import save as save_torch

from service.api.openai.prompt_embeds import read_embeds
from service.engine.inputs import Vectors
from service.engine.requests import Delta, Failed, Generate, RowDone
from service.errors import InvalidRequest
from service.hosting.ipc.messages import EstimateCost, Finished, Submit, Update
from tests.service.api.conftest import CARD, OpenWorld, World

URL = "/v1/completions"
VALUES = np.random.default_rng(3).normal(size=(4, 5)).astype(np.float32)


def text_of(data: bytes) -> str:
    return base64.b64encode(data).decode()


def torch_text(tensor: torch.Tensor) -> str:
    buffer = io.BytesIO()
    torch.save(tensor, buffer)
    return text_of(buffer.getvalue())


SAFETENSORS = text_of(save({"anything": VALUES}))
TORCH = torch_text(torch.from_numpy(VALUES))


def received(world: World, at: int = -1) -> list[Any]:
    request = world.end.submitted[at].request
    assert isinstance(request, Generate)
    return [item.values if isinstance(item, Vectors) else item for item in request.inputs]


@pytest.mark.parametrize("text", [SAFETENSORS, TORCH, torch_text(torch.from_numpy(VALUES)[None])])
@pytest.mark.parametrize("prompt", [{}, {"prompt": None}, {"prompt": ""}])
def test_one_value_is_one_input(world: World, text: str, prompt: dict[str, Any]) -> None:
    answer = world.client.post(URL, json={"model": "demo", "prompt_embeds": text, **prompt})
    assert answer.status_code == 200, answer.text
    (vectors,) = received(world)
    assert vectors.dtype == np.float32
    assert np.array_equal(vectors, VALUES)


def test_embeds_come_before_texts_as_in_vllm(world: World) -> None:
    other = torch_text(torch.from_numpy(VALUES[:2]))
    body = {"model": "demo", "prompt": ["one", "two"], "prompt_embeds": [SAFETENSORS, other]}
    assert world.client.post(URL, json=body).status_code == 200
    first, second, *texts = received(world)
    assert (first.shape, second.shape, texts) == ((4, 5), (2, 5), ["one", "two"])
    world.client.post(URL, json={**body, "prompt": [3, 1]})
    assert received(world)[2:] == [(3, 1)]
    world.client.post(URL, json={**body, "prompt": ["", "two"]})
    assert received(world)[2:] == ["", "two"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves_are_widened_exactly(dtype: torch.dtype) -> None:
    tensor = torch.from_numpy(VALUES).to(dtype)
    for text in (torch_text(tensor), text_of(save_torch({"x": tensor}))):
        assert np.array_equal(read_embeds(text, card=CARD), tensor.float().numpy())


ZEROS = torch.zeros(4, 5)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("not base64!", "Expected base64 of a safetensors file"),
        ("AAA", "Expected base64"),
        ("äöü", "Expected base64"),
        ("QUJD\n", "Expected base64"),
        (text_of(b"GIF89a" * 9), "safetensors file is truncated"),
        (text_of(b"PK\x03\x04"), "cannot be read"),
        (text_of(b"\x80\x02cos\nsystem\nX\x01\0\0\0x\x85R."), "got a plain pickle"),
        (torch_text(torch.zeros(4, 6)), r"\[n, 5\] or \[1, n, 5\].*got \[4, 6\]"),
        (text_of(save({"x": np.zeros((4, 6), np.float32)})), r"got \[4, 6\]"),
        (torch_text(torch.zeros(5)), r"got \[5\]"),
        (torch_text(torch.zeros(2, 4, 5)), r"got \[2, 4, 5\]"),
        (torch_text(torch.zeros(1, 1, 4, 5)), r"got \[1, 1, 4, 5\]"),
        (torch_text(torch.zeros(0, 5)), r"got \[0, 5\]"),
        (torch_text(torch.zeros(5).expand(1 << 40, 5)), "repeats its data"),
        (torch_text(torch.zeros(65, 5)), "at most 64 vectors"),
        (torch_text(torch.full((4, 5), torch.nan)), "finite"),
        (torch_text(torch.full((4, 5), -torch.inf)), "finite"),
        (torch_text(torch.zeros(4, 5).double()), "got one of DoubleStorage"),
        (text_of(save({"x": np.zeros((4, 5))})), "got one of F64"),
        (text_of(save({"x": VALUES, "y": VALUES})), "one tensor, got 2"),
        (text_of(save({})), "one tensor, got 0"),
    ],
)
def test_what_is_no_vectors_is_refused(world: World, text: str, says: str) -> None:
    body = {"model": "demo", "prompt_embeds": [SAFETENSORS, text]}
    answer = world.client.post(URL, json=body)
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert error["param"] == "prompt_embeds.1"
    with pytest.raises(InvalidRequest, match=says):
        read_embeds(text, card=CARD)
    assert world.end.submitted == []


def test_numbers_too_large_for_a_model_in_float16() -> None:
    text = torch_text(torch.full((4, 5), 1e5))
    assert read_embeds(text, card=CARD).max() == np.float32(1e5)
    with pytest.raises(InvalidRequest, match="float16"):
        read_embeds(text, card={**CARD, "dtype": "float16"})


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({}, "prompt"),
        ({"prompt_embeds": None}, "prompt"),
        ({"prompt_embeds": []}, "prompt_embeds"),
        ({"prompt_embeds": ""}, "prompt_embeds"),
        ({"prompt_embeds": [[0.5]]}, "prompt_embeds.0"),
        ({"prompt_embeds": 5}, "prompt_embeds"),
        ({"prompt_embeds": "!"}, "prompt_embeds"),
    ],
)
def test_bad_fields_are_named(world: World, fields: dict[str, Any], param: str) -> None:
    answer = world.client.post(URL, json={"model": "demo", **fields})
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, param)


@pytest.mark.parametrize(
    ("fields", "at", "param"),
    [
        ({"prompt_embeds": TORCH}, 0, "prompt_embeds"),
        ({"prompt_embeds": [TORCH, TORCH]}, 1, "prompt_embeds.1"),
        ({"prompt_embeds": [TORCH, TORCH], "prompt": ["a", "b"]}, 3, "prompt.1"),
        ({"prompt_embeds": TORCH, "prompt": "a"}, 1, "prompt"),
        ({"prompt_embeds": TORCH, "prompt": [1, 2]}, 1, "prompt"),
    ],
)
def test_refusals_of_the_engine_name_the_field(
    open_world: OpenWorld, fields: dict[str, Any], at: int, param: str
) -> None:
    def refuse(message: Submit | EstimateCost) -> list[Update]:
        error = InvalidRequest("too long", loc=("inputs", at))
        return [Failed(request_id=message.request.request_id, error=error)]

    answer = open_world(script=refuse).client.post(URL, json={"model": "demo", **fields})
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, param)


def test_usage_and_choices_count_the_vectors(open_world: OpenWorld) -> None:
    def script(message: Submit | EstimateCost) -> list[Update]:
        request = message.request
        assert isinstance(request, Generate)
        updates: list[Update] = []
        for row, given in enumerate(request.inputs):
            n_input = len(given.values) if isinstance(given, Vectors) else 3
            delta = Delta(request_id=request.request_id, row=row, text=f"r{row}", token_ids=(row,))
            end = RowDone(
                request_id=request.request_id, row=row, finish_reason="length", n_input=n_input, n_generated=1
            )
            updates += [delta, end]
        return [*updates, Finished()]

    world = open_world(script=script)
    body = {"model": "demo", "prompt_embeds": TORCH, "prompt": "a"}
    answer = world.client.post(URL, json=body).json()
    assert [choice["text"] for choice in answer["choices"]] == ["r0", "r1"]
    assert answer["usage"] == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    streamed = world.client.post(URL, json={**body, "stream": True}).text
    chunks = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: {")]
    assert [(c["index"], c["text"]) for chunk in chunks for c in chunk["choices"] if c["text"]] == [
        (0, "r0"),
        (1, "r1"),
    ]
