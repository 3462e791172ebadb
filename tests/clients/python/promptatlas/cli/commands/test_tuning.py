"""``promptatlas tune --runs``."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.clients.python.promptatlas.cli.conftest import Run
from tests.clients.python.promptatlas.fake_runs import ID, TUNE_SPEC, info
from tests.clients.python.promptatlas.fake_server import FakeServer, reply

SWEEP: dict[str, Any] = {**TUNE_SPEC, "name": "qa", "seeds": [0, 1, 2, 3]}
PART = {"status": "ok"}


def ready(**workers: Any) -> dict[str, Any]:
    return {"status": "ready", "engine": PART, "store": PART, "redis": PART, "workers": workers}


def sent(server: FakeServer) -> list[dict[str, Any]]:
    return [json.loads(request.content) for request in server.requests if request.method == "POST"]


def test_members_are_divided_over_runs(run: Run, server: FakeServer) -> None:
    server.will(reply(info(), status=202), reply(info(id="run-2"), status=202))
    shown = run("tune", "-", "--runs", "2", "--name", "sweep", input=json.dumps(SWEEP))
    assert shown.output == f"{ID} tune queued, 2 before it\nrun-2 tune queued, 2 before it\n"
    assert [(body["name"], body["spec"]["seeds"]) for body in sent(server)] == [
        ("sweep-1", [0, 1]),
        ("sweep-2", [2, 3]),
    ]


def test_there_are_as_many_runs_as_workers(run: Run, server: FakeServer) -> None:
    answers = [reply(info(), status=202)] * 3
    server.will(reply(ready(status="ok", count=3)), *answers)
    shown = run("tune", "-", "--runs", "workers", input=json.dumps(SWEEP))
    assert shown.exit_code == 0, shown.output
    assert [body["spec"]["seeds"] for body in sent(server)] == [[0], [1], [2, 3]]


def test_one_run_is_the_default(run: Run, server: FakeServer) -> None:
    server.will(reply(info(), status=202))
    run("tune", "-", "--name", "sweep", input=json.dumps(SWEEP))
    assert server.sent == {"kind": "tune", "spec": SWEEP, "name": "sweep"}


@pytest.mark.parametrize("number", ["0", "-1", "many", "1.5"])
def test_other_numbers_are_refused(run: Run, server: FakeServer, number: str) -> None:
    shown = run("tune", "-", "--runs", number, input=json.dumps(SWEEP))
    assert shown.exit_code != 0
    assert server.requests == []


def test_without_workers_nothing_is_started(run: Run, server: FakeServer) -> None:
    server.will(reply(ready(status="off", detail="no workers on any host", count=0)))
    shown = run("tune", "-", "--runs", "workers", input=json.dumps(SWEEP))
    assert shown.exit_code == 1
    assert "no workers on any host" in shown.stderr
    assert sent(server) == []
