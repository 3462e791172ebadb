from __future__ import annotations

import json
from pathlib import Path

import httpx

from tests.clients.python.promptatlas.cli.conftest import Run
from tests.clients.python.promptatlas.fake_server import FakeServer, problem, reply
from tests.clients.python.promptatlas.resources.test_datasets import MANIFEST, PEEK


def test_lists(run: Run, server: FakeServer) -> None:
    server.will(reply({"data": [MANIFEST]}))
    lines = [line.split() for line in run("datasets", "list").output.splitlines()]
    assert lines[1] == ["rivers", "jsonl", "3", "train", "2,", "test", "1"]
    assert json.loads(run("datasets", "list", "--json").output)[0]["n_bytes"] == 120


def test_uploading(run: Run, server: FakeServer, tmp_path: Path) -> None:
    server.will(reply(MANIFEST, status=201))
    (tmp_path / "math.txt").write_bytes(b"2+2\n4\n")
    arguments = ["datasets", "upload", "math", str(tmp_path / "math.txt"), "-f", "deepmind-math"]
    shown = run(*arguments, "--input", "{question}=", "--target", "{answer}")
    assert shown.output == f"rivers: 3 records (train 2, test 1), {MANIFEST['sha256']}\n"
    params = {"name": "math", "format": "deepmind-math", "input": "{question}=", "target": "{answer}"}
    assert dict(server.request.url.params) == params
    assert server.request.content == b"2+2\n4\n"
    assert json.loads(run(*arguments, "--json").output)["name"] == "rivers"
    server.will(problem(422, "line 2: expected an answer"))
    shown = run(*arguments)
    assert (shown.exit_code, shown.stderr) == (1, "error: 422 Problem: line 2: expected an answer (request req_9)\n")


def test_a_dataset_of_the_hub_is_loaded(run: Run, server: FakeServer) -> None:
    server.will(reply(MANIFEST))
    shown = run("datasets", "load", "hub:own/rivers")
    assert shown.output == f"rivers: 3 records (train 2, test 1), {MANIFEST['sha256']}\n"
    assert (server.request.method, server.request.url.path) == ("PUT", "/v1/datasets/hub:own/rivers")
    assert json.loads(run("datasets", "load", "hub:own/rivers", "--json").output)["n_records"] == 3


def test_a_peek(run: Run, server: FakeServer) -> None:
    server.will(reply(PEEK))
    shown = run("datasets", "peek", "rivers", "--split", "test", "-n", "2")
    assert shown.output.splitlines() == [
        "── 4 test",
        "Ana is in the⟶ kitchen",
        "(or: ' cellar')",
        "── 0 train",
        "Ben walks.",
    ]
    assert dict(server.request.url.params) == {"split": "test", "limit": "2"}
    assert json.loads(run("datasets", "peek", "rivers", "--json").output)["data"][0]["target"] == " kitchen"


def test_deleting_asks_first(run: Run, server: FakeServer) -> None:
    server.will(httpx.Response(204))
    assert run("datasets", "delete", "rivers", input="n\n").exit_code == 1
    assert server.requests == []
    assert "deleted rivers" in run("datasets", "delete", "rivers", "--yes").output
    assert json.loads(run("datasets", "delete", "rivers", "-y", "--json").output) == {"deleted": "rivers"}
