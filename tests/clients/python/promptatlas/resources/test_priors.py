from __future__ import annotations

import anyio
import httpx
import numpy as np
import pytest
from promptatlas import AsyncClient, Client, errors

from tests.clients.python.promptatlas.fake_runs import ID, ended, info
from tests.clients.python.promptatlas.fake_server import FakeServer, problem, reply, tensor_bytes, tensors_reply

VECTORS = np.arange(6, dtype=np.float32).reshape(2, 3)
GAUSSIAN = {"kind": "gaussian", "fit": {"activations": {"dataset": "demo-qa", "layer": None}}}


def draw() -> httpx.Response:
    return tensors_reply(tensor_bytes({"vectors": VECTORS}))


def test_sampling(client: Client, server: FakeServer) -> None:
    server.will(reply(info(kind="sample"), status=202))
    run = client.priors.sample(model="demo", prior=GAUSSIAN, n=2, seed=3, layer=-1)
    assert (run.id, run.kind) == (ID, "sample")
    assert server.request.url.path == "/v1/priors/sample"
    assert server.sent == {"model": "demo", "prior": GAUSSIAN, "n": 2, "seed": 3, "layer": -1}
    assert "idempotency-key" in server.request.headers
    server.will(reply(ended(kind="sample")), draw())
    vectors = run.refresh().vectors()
    np.testing.assert_array_equal(vectors, VECTORS)
    assert vectors.flags.writeable
    assert server.request.url.path == f"/v1/runs/{ID}/artifacts/draw.safetensors"


def test_a_sample_that_failed(client: Client, server: FakeServer) -> None:
    server.will(reply(ended("failed", kind="sample", error="acceptance is 0 of 10,000")))
    run = client.runs.get(ID)
    with pytest.raises(errors.RunFailedError, match="acceptance is 0 of 10,000"):
        run.vectors()


def test_a_file_with_other_tensors(client: Client, server: FakeServer) -> None:
    server.will(reply(ended(kind="sample")), tensors_reply(tensor_bytes({"soft": VECTORS})))
    with pytest.raises(errors.UnexpectedAnswerError, match="'vectors'"):
        client.runs.get(ID).vectors()


def test_only_runs_of_kind_sample_have_vectors(client: Client, server: FakeServer) -> None:
    server.will(reply(ended()))
    with pytest.raises(ValueError, match="expected a run of kind 'sample', got one of kind 'tune'"):
        client.runs.get(ID).vectors()


def test_invalid_requests_are_not_sent(client: Client, server: FakeServer) -> None:
    with pytest.raises(errors.InvalidRequestError, match=r"prior\.isotropic\.std"):
        client.priors.sample(model="demo", prior={"kind": "isotropic", "std": 0})
    assert server.requests == []
    server.will(problem(422, "no layer 9"))
    with pytest.raises(errors.InvalidRequestError, match="no layer 9"):
        client.priors.sample(model="demo", prior={"kind": "xavier"}, layer=9)


def test_async_sampling(async_client: AsyncClient, server: FakeServer) -> None:
    async def run() -> None:
        server.will(reply(ended(kind="sample"), status=202), draw())
        begun = await async_client.priors.sample(model="demo", prior={"kind": "xavier"}, n=2)
        np.testing.assert_array_equal(await begun.vectors(), VECTORS)

    anyio.run(run)
