"""Making reports and fetching them."""

from __future__ import annotations

import json

import anyio
import httpx
import pytest
from promptatlas import AsyncClient, Client, errors

from tests.clients.python.promptatlas.fake_maps import PAGE, REPORT
from tests.clients.python.promptatlas.fake_runs import ID, ended, info
from tests.clients.python.promptatlas.fake_server import FakeServer, problem, reply


def files() -> tuple[httpx.Response, httpx.Response]:
    """The artifacts of a run, in the order of the requests."""
    return httpx.Response(200, content=json.dumps(REPORT).encode()), httpx.Response(200, content=PAGE.encode())


def test_making_one(client: Client, server: FakeServer) -> None:
    server.will(reply(info(kind="report"), status=202))
    run = client.reports.make(
        model="demo", datasets=["demo-qa"], prompts=("qa@1",), layers=range(2), n=20, run_name="mine", timeout_s=7
    )
    spec = {"model": "demo", "datasets": ["demo-qa"], "prompts": ["qa@1"], "layers": [0, 1], "n": 20}
    assert server.sent == {"kind": "report", "spec": spec, "name": "mine"}
    assert server.request.headers["x-request-timeout"] == "7"
    server.will(reply(ended(kind="report")), *files())
    report = run.refresh().report()
    assert (report.id, report.title, report.html) == (ID, "Where they lie", PAGE)
    assert [request.url.path for request in server.requests[-2:]] == [
        f"/v1/runs/{ID}/artifacts/report.json",
        f"/v1/runs/{ID}/artifacts/report.html",
    ]


def test_invalid_requests_are_not_sent(client: Client, server: FakeServer) -> None:
    with pytest.raises(errors.InvalidRequestError, match="n: "):
        client.reports.make(model="demo", datasets=["demo-qa"], n=19)
    assert server.requests == []


def test_one(client: Client, server: FakeServer) -> None:
    server.will(*files())
    assert client.reports.get(ID).finding(1).verdict == "confirmed"
    server.will(problem(404, "no report yet"))
    with pytest.raises(errors.NotFoundError, match="no report yet"):
        client.reports.get(ID)
    server.will(httpx.Response(200, content=b"{}"))
    with pytest.raises(errors.UnexpectedAnswerError, match="expected a report"):
        client.reports.get(ID)


def test_only_runs_of_kind_report_have_a_report(client: Client, server: FakeServer) -> None:
    server.will(reply(ended()))
    with pytest.raises(ValueError, match="expected a run of kind 'report', got one of kind 'tune'"):
        client.runs.get(ID).report()
    server.will(reply(ended("failed", kind="report", error="no such dataset")))
    with pytest.raises(errors.RunFailedError, match="no such dataset"):
        client.runs.get(ID).report()


def test_async_reports(async_client: AsyncClient, server: FakeServer) -> None:
    async def run() -> None:
        server.will(reply(ended(kind="report"), status=202), *files())
        begun = await async_client.reports.make(model="demo", datasets=["demo-qa"])
        assert (await begun.report()).html == PAGE
        server.will(*files())
        assert (await async_client.reports.get(ID)).collapse["qa@1"]["norm_ratio"] == 1.5

    anyio.run(run)
