"""``promptatlas harvest``."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
from promptatlas import Harvest

from tests.clients.python.promptatlas.cli.conftest import Run
from tests.clients.python.promptatlas.fake_harvest import FakeHarvest, states
from tests.clients.python.promptatlas.fake_runs import EVENTS, ID, info, stream
from tests.clients.python.promptatlas.fake_server import FakeServer, reply


def test_starting(run: Run, server: FakeServer) -> None:
    server.will(reply(info(kind="harvest"), status=202))
    shown = run(
        "harvest",
        "demo",
        "demo-qa",
        "-s",
        "resid_pre",
        "-l",
        "2,-1",
        "--positions",
        "1:",
        "--reduce",
        "norm",
        "--split",
        "test",
        "-n",
        "5",
        "--max-tokens",
        "64",
        "--no-include-target",
        "--dtype",
        "float16",
        "-f",
        "parquet",
        "--shard-bytes",
        "8192",
        "--mix",
        "a@1=0.5",
        "--mix",
        "b@1=0.5",
        "--name",
        "states",
    )
    assert shown.output == f"{ID} harvest queued, 2 before it\n"
    assert server.sent == {
        "kind": "harvest",
        "name": "states",
        "spec": {
            "model": "demo",
            "dataset": "demo-qa",
            "sites": ["resid_pre"],
            "layers": [2, -1],
            "positions": {"start": 1, "stop": None},
            "reduce": "norm",
            "split": "test",
            "n": 5,
            "max_tokens": 64,
            "include_target": False,
            "dtype": "float16",
            "format": "parquet",
            "shard_bytes": 8192,
            "prompt_ref": {"mix": [{"ref": "a@1", "weight": 0.5}, {"ref": "b@1", "weight": 0.5}]},
        },
    }


def test_the_defaults_are_the_servers(run: Run, server: FakeServer) -> None:
    server.will(reply(info(kind="harvest"), status=202), stream(*EVENTS), reply(FakeHarvest().run()))
    shown = run("harvest", "demo", "demo-qa", "--watch")
    assert json.loads(server.requests[0].content)["spec"] == {
        "model": "demo",
        "dataset": "demo-qa",
        "sites": ["resid_post"],
        "layers": "all",
        "positions": "all",
        "include_target": True,
        "dtype": "float32",
        "format": "safetensors",
    }
    assert shown.stdout.startswith(f"{ID} harvest succeeded")


def test_fetching(run: Run, server: FakeServer, tmp_path: Path) -> None:
    fake = FakeHarvest()
    files = [httpx.Response(200, content=content) for content in fake.files.values()]
    for as_json in ((), ("--json",)):
        server.will(
            reply(info(kind="harvest"), status=202), stream(*EVENTS), reply(fake.run()), reply(fake.run()), *files
        )
        shown = run("harvest", "demo", "demo-qa", "-o", str(tmp_path), *as_json)
        assert shown.exit_code == 0, shown.output
        assert Harvest.load(tmp_path).tensor("resid_post.3").tolist() == states().tolist()
    assert json.loads(shown.stdout)["tensors"] == {"resid_post.3": [7, 3], "norm": [7]}
    assert run("harvest", "demo", "demo-qa", "--positions", "some").exit_code == 2
