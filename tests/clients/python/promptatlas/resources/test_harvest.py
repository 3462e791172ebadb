"""``client.harvest``."""

from __future__ import annotations

import json

import anyio
import pytest
from promptatlas import AsyncClient, Client, errors

from tests.clients.python.promptatlas.fake_runs import ID, info
from tests.clients.python.promptatlas.fake_server import FakeServer, reply

ASKED = {
    "model": "demo",
    "dataset": "demo-text",
    "sites": ["resid_post"],
    "layers": [3],
    "reduce": "mean",
    "prompt_ref": "qa@2",
    "positions": {"start": 1},
}


def test_a_harvest_is_a_run(client: Client, server: FakeServer) -> None:
    server.will(reply(info(kind="harvest"), status=202))
    run = client.harvest.create(
        model="demo",
        dataset="demo-text",
        layers=[3],
        reduce="mean",
        prompt_ref="qa@2",
        positions={"start": 1},
        run_name="states",
        request_id="mine",
    )
    assert (run.id, run.kind) == (ID, "harvest")
    assert server.sent == {"kind": "harvest", "spec": ASKED, "name": "states"}
    assert server.request.headers["x-request-id"] == "mine"


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({"layers": "some"}, "layers"),
        ({"shard_bytes": 3}, "shard_bytes"),
        ({"sites": []}, "sites"),
        ({"site": 1}, "site"),
    ],
)
def test_invalid_requests_are_not_sent(
    client: Client, server: FakeServer, options: dict[str, object], place: str
) -> None:
    with pytest.raises(errors.InvalidRequestError, match=place):
        client.harvest.create(model="demo", dataset="demo-text", **options)  # type: ignore[arg-type]
    assert server.requests == []


def test_async(async_client: AsyncClient, server: FakeServer) -> None:
    server.will(reply(info(kind="harvest"), status=202))

    async def main() -> str:
        run = await async_client.harvest.create(model="demo", dataset="demo-text", sites=("embed",), n=5)
        return run.kind

    assert anyio.run(main) == "harvest"
    assert json.loads(server.request.content)["spec"] == {
        "model": "demo",
        "dataset": "demo-text",
        "sites": ["embed"],
        "n": 5,
    }
