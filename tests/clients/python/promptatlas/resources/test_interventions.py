from __future__ import annotations

import json
from email.parser import BytesParser
from email.policy import HTTP

import httpx
import numpy as np
import pytest
import safetensors.numpy
from promptatlas import Client, Intervention, errors
from promptatlas.resources.encoding import as_floats

from tests.clients.python.promptatlas.fake_server import (
    FakeServer,
    activation_tensors,
    reply,
    tensor_bytes,
    tensors_reply,
)

COMPLETION = {"id": "c", "created": 1, "model": "demo", "choices": []}
PUSH = Intervention(site="resid_post", op="add", layers=[5], positions="generated", value=[1, 2, 3], strength=2.0)
FADE = Intervention(site="mlp_out", op="scale", strength=0.5, positions=slice(1, None))
ERASE = Intervention(site="blocks.2.hook_resid_pre", op="project_out", value=np.ones((2, 3)))


def parts_of(request: httpx.Request) -> dict[str, tuple[str, str | None, bytes]]:
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + request.content)
    found: dict[str, tuple[str, str | None, bytes]] = {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        found[str(name)] = (part.get_content_type(), part.get_filename(), content)
    return found


def test_arrays_are_sent_as_a_part_of_their_own(client: Client, server: FakeServer) -> None:
    server.will(tensors_reply(tensor_bytes(activation_tensors())))
    client.activations.get(model="demo", inputs=["a"], sites=["embed"], interventions=[PUSH, FADE, ERASE]).close()
    parts = parts_of(server.request)
    assert {name: part[:2] for name, part in parts.items()} == {
        "request": ("application/json", None),
        "tensors": ("application/vnd.safetensors", "tensors.safetensors"),
    }
    assert json.loads(parts["request"][2])["interventions"] == [
        {
            "site": "resid_post",
            "op": "add",
            "layers": [5],
            "positions": "generated",
            "strength": 2.0,
            "value": "value0",
        },
        {
            "site": "mlp_out",
            "op": "scale",
            "layers": "all",
            "positions": {"start": 1, "stop": None},
            "strength": 0.5,
        },
        {
            "site": "blocks.2.hook_resid_pre",
            "op": "project_out",
            "layers": "all",
            "positions": "all",
            "strength": 1.0,
            "value": "value2",
        },
    ]
    tensors = safetensors.numpy.load(parts["tensors"][2])
    assert tensors.keys() == {"value0", "value2"}
    assert tensors["value0"].tolist() == [1, 2, 3]
    assert (tensors["value2"].shape, tensors["value2"].dtype.name) == ((2, 3), "float32")


def test_without_arrays_it_is_plain_json(client: Client, server: FakeServer) -> None:
    server.will(reply(COMPLETION))
    client.completions.create(model="demo", prompt="x", interventions=[FADE])
    assert server.request.headers["content-type"] == "application/json"
    assert server.sent["interventions"][0]["op"] == "scale"


def test_every_route_that_runs_the_model_takes_them(client: Client, server: FakeServer) -> None:
    server.will(reply(COMPLETION))
    client.completions.create(model="demo", prompt="x", interventions=[PUSH])
    client.chat.create(model="demo", messages=[{"role": "user", "content": "x"}], interventions=[PUSH])
    assert [sorted(parts_of(request)) for request in server.requests] == [["request", "tensors"]] * 2


def test_invalid_requests_are_not_sent(client: Client, server: FakeServer) -> None:
    missing = Intervention(site="resid_post", op="set")
    with pytest.raises(errors.InvalidRequestError, match="expected the name of a tensor"):
        client.completions.create(model="demo", prompt="x", interventions=[missing])
    assert server.requests == []


def test_torch_values_with_gradients_and_bfloat16() -> None:
    torch = pytest.importorskip("torch")
    value = torch.tensor([1.5, -2.0], dtype=torch.bfloat16, requires_grad=True)
    assert as_floats(value).tolist() == [1.5, -2.0]
    assert as_floats(np.ones((2, 3)).T).flags.c_contiguous
