"""Waiting for runs, following them over broken connections, and downloading their artifacts."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import httpx
import pytest
from promptatlas import AsyncClient, Client, Run, errors

from tests.clients.python.promptatlas.fake_runs import EVENTS, ID, curve, ended, info, stream
from tests.clients.python.promptatlas.fake_server import STREAMED, FakeServer, problem, reply


@pytest.fixture
def run(client: Client, server: FakeServer) -> Run:
    server.will(reply(info()))
    found = client.runs.get(ID)
    server.requests.clear()
    return found


def requests_of(server: FakeServer) -> list[tuple[str, str | None]]:
    return [(request.url.path, request.headers.get("last-event-id")) for request in server.requests]


def test_waiting(run: Run, server: FakeServer, slept: list[float]) -> None:
    server.will(stream(*EVENTS), reply(ended()))
    assert run.wait() is run
    assert (run.status, run.prompts) == ("succeeded", ["qa@1", "qa@2"])
    assert requests_of(server) == [(f"/v1/runs/{ID}/events", None), (f"/v1/runs/{ID}", None)]
    events = server.requests[0]
    assert events.headers["accept"] == "text/event-stream"
    assert "x-request-timeout" not in events.headers
    assert events.extensions["timeout"]["read"] == 45.0
    assert not any(slept)
    run.wait()
    assert len(server.requests) == 2


def test_waiting_for_a_run_that_fails(run: Run, server: FakeServer) -> None:
    server.will(stream(("done", {"status": "failed"})), reply(ended("failed", error="no memory", attempts=3)))
    with pytest.raises(errors.RunFailedError) as caught:
        run.wait()
    assert str(caught.value) == f"run {ID} failed (attempt 3): no memory"
    assert (caught.value.run_id, caught.value.reason, caught.value.attempts) == (ID, "no memory", 3)
    assert run.error == "no memory"


def test_waiting_for_a_run_that_is_cancelled(run: Run, server: FakeServer) -> None:
    server.will(stream(("done", {"status": "cancelled"})), reply(ended("cancelled")))
    with pytest.raises(errors.RunCancelledError, match=f"run {ID} was cancelled"):
        run.wait()


def test_a_broken_connection_is_reopened_after_the_last_event(run: Run, server: FakeServer, slept: list[float]) -> None:
    server.will(
        stream(*EVENTS[:3], then=httpx.ReadError("cut")),
        httpx.ConnectError("refused"),
        stream(*EVENTS[2:], first=3),
        reply(ended()),
    )
    events = list(run.events())
    assert [(event.id, event.type) for event in events] == [(at + 1, kind) for at, (kind, _) in enumerate(EVENTS)]
    assert events[1].data == {"step": 10, "member": "a", "loss": 2.5, "lr": 0.001}
    path = f"/v1/runs/{ID}/events"
    assert requests_of(server) == [(path, None), (path, "3"), (path, "3"), (f"/v1/runs/{ID}", None)]
    assert slept[0] == 0.5


def test_an_event_that_was_cut_off_is_repeated(run: Run, server: FakeServer) -> None:
    server.will(stream(*EVENTS[:2], cut=5), reply(info(status="running")), stream(*EVENTS[1:], first=2), reply(ended()))
    assert [event.id for event in run.events()] == [1, 2, 3, 4, 5, 6]
    assert requests_of(server)[2] == (f"/v1/runs/{ID}/events", "1")


def test_a_server_that_stops_ends_the_stream_without_the_run(run: Run, server: FakeServer) -> None:
    server.will(
        stream(*EVENTS[:2]),
        problem(503, "stopping", retry_after="0"),
        reply(ended()),
        stream(*EVENTS[2:], first=3),
        reply(ended()),
    )
    assert [event.id for event in run.events()] == [1, 2, 3, 4, 5, 6]


def test_a_resumed_run_has_further_events(run: Run, server: FakeServer) -> None:
    failed = ("done", {"status": "failed"})
    server.will(
        stream(*EVENTS[:2], failed),
        reply(info(status="running")),
        stream(*EVENTS[2:], first=4),
        reply(ended()),
    )
    assert [event.type for event in run.events()] == ["status", "metric", "done", "metric", "log", "status", "done"]


def test_a_run_that_has_ended_and_has_no_more_events(run: Run, server: FakeServer) -> None:
    server.will(reply(ended()), stream(), reply(ended()))
    assert list(run.refresh().events(after=6)) == []
    assert requests_of(server)[1] == (f"/v1/runs/{ID}/events", "6")


def test_waiting_continues_after_the_events_before_the_resumption(run: Run, server: FakeServer) -> None:
    server.will(stream(*EVENTS[:1], ("done", {"status": "failed"})), reply(ended("failed")))
    with pytest.raises(errors.RunFailedError):
        run.wait()
    server.will(reply(info(), status=202), stream(*EVENTS[-1:], first=3), reply(ended()))
    server.requests.clear()
    assert run.resume().wait().status == "succeeded"
    assert requests_of(server)[:2] == [(f"/v1/runs/{ID}/resume", None), (f"/v1/runs/{ID}/events", "2")]


def test_waiting_for_a_run_resumed_by_another_client(client: Client, server: FakeServer) -> None:
    server.will(reply(ended("failed")), reply(info()), stream(*EVENTS), reply(ended()))
    assert client.runs.get(ID).wait().status == "succeeded"


def test_persistent_errors_are_raised(run: Run, server: FakeServer, slept: list[float]) -> None:
    server.will(problem(404, "no run"))
    with pytest.raises(errors.NotFoundError, match="no run"):
        list(run.events())
    assert slept == []
    server.will(httpx.ConnectError("refused"))
    with pytest.raises(errors.ConnectionFailedError, match="refused"):
        run.wait()
    assert sum(slept) > 600


@pytest.mark.parametrize(
    "content", [b"id: 1\nevent: metric\ndata: {\n\n", b"event: metric\ndata: {}\n\n", b"id: 1\nevent: x\ndata: {}\n\n"]
)
def test_an_invalid_event_is_unexpected(run: Run, server: FakeServer, content: bytes) -> None:
    server.will(httpx.Response(200, content=content, headers=STREAMED))
    with pytest.raises(errors.UnexpectedAnswerError, match="expected an event"):
        list(run.events())


def test_waiting_has_a_timeout() -> None:
    now_s = [0.0]
    streams: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/events"):
            return reply(info(status="running", progress={"step": 3, "total": 20, "eta_s": None}))
        now_s[0] += 3
        streams.append(request)
        return stream(EVENTS[0], first=len(streams), then=httpx.ReadTimeout("quiet"))

    clock, transport = (lambda: now_s[0]), httpx.MockTransport(answer)
    client = Client(transport=transport, clock=clock, sleep=lambda _: None, progress=False, environ={})
    found = client.runs.get(ID)
    with pytest.raises(errors.TimedOutError, match=r"still running \(step 3 of 20\) after 5 s; it continues"):
        found.wait(timeout_s=5)
    assert [request.extensions["timeout"]["read"] for request in streams] == [5.0, 2.0]
    with pytest.raises(ValueError, match="timeout_s: expected more than 0"):
        found.wait(timeout_s=0)


def test_cancelling(run: Run, server: FakeServer) -> None:
    server.will(reply(ended("cancelled")))
    assert run.cancel().status == "cancelled"
    assert (server.request.method, server.request.url.path) == ("POST", f"/v1/runs/{ID}/cancel")
    server.will(problem(409, "it has ended"))
    with pytest.raises(errors.ConflictError, match="it has ended"):
        run.cancel()


def test_resuming(run: Run, server: FakeServer) -> None:
    server.will(reply(info(), status=202))
    assert run.resume().status == "queued"
    assert (server.request.method, server.request.url.path) == ("POST", f"/v1/runs/{ID}/resume")
    assert "idempotency-key" in server.request.headers


def test_annotating(run: Run, server: FakeServer) -> None:
    server.will(reply(info(notes="slow", tags=["pilot"])))
    assert run.annotate(notes="slow", tags=("pilot",)) is run
    assert (server.request.method, server.request.url.path) == ("PATCH", f"/v1/runs/{ID}")
    assert json.loads(server.request.content) == {"notes": "slow", "tags": ["pilot"]}
    assert (run.notes, run.tags) == ("slow", ["pilot"])
    server.will(reply(info()))
    run.annotate(tags=[])
    assert json.loads(server.request.content) == {"tags": []}
    assert run.notes == ""
    with pytest.raises(errors.InvalidRequestError):
        run.annotate(tags=["two words"])


def test_curves(run: Run, server: FakeServer) -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("matplotlib").use("agg")
    server.will(curve())
    assert run.metrics().names == ["loss", "validation_loss", "n_tokens"]
    assert server.request.url.path == f"/v1/runs/{ID}/metrics"
    assert run.to_pandas().shape == (5, 5)
    axes = run.plot(backend="matplotlib")
    assert axes.get_title() == "sweep"
    assert [line.get_label() for line in axes.get_lines()] == ["a", "b"]


def test_artifacts(run: Run, server: FakeServer, tmp_path: Path) -> None:
    server.will(httpx.Response(200, content=b"abc"))
    assert run.read("draws/a b@1.safetensors") == b"abc"
    assert server.request.url.raw_path == f"/v1/runs/{ID}/artifacts/draws/a%20b%401.safetensors".encode()
    assert run.download("draws/qa@1", to=tmp_path / "draw").read_bytes() == b"abc"
    assert run.download("draws/qa@1", tmp_path) == tmp_path / "qa@1"
    server.will(reply(ended()), httpx.Response(200, content=b"abc"))
    assert run.download_all(to=tmp_path / "all") == [
        tmp_path / "all" / "spec.json",
        tmp_path / "all" / "draws" / "qa@1",
    ]
    assert (tmp_path / "all" / "draws" / "qa@1").read_bytes() == b"abc"


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "a\\..\\x"])
def test_no_artifact_is_saved_outside_its_folder(run: Run, server: FakeServer, tmp_path: Path, path: str) -> None:
    server.will(reply(ended(artifacts=[{"path": path, "n_bytes": 1, "sha256": "x"}])))
    with pytest.raises(errors.UnexpectedAnswerError, match="inside the run's folder"):
        run.download_all(to=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_evaluation_rows(run: Run, server: FakeServer) -> None:
    rows = [{"prompt": None, "output": "a\u2028b"}, {"prompt": "qa@1", "output": "c"}]
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    server.will(httpx.Response(200, content=content, headers=STREAMED))
    assert run.evaluation() == rows
    assert server.request.url.path == f"/v1/runs/{ID}/artifacts/evaluation.jsonl"
    server.will(httpx.Response(200, content=b"{\n"))
    with pytest.raises(errors.UnexpectedAnswerError, match="on each line"):
        run.evaluation()


def test_async_waiting(async_client: AsyncClient, server: FakeServer, slept: list[float]) -> None:
    async def run() -> None:
        server.will(reply(info()))
        found = await async_client.runs.get(ID)
        server.will(
            stream(*EVENTS[:2], then=httpx.ReadError("cut")),
            httpx.ConnectError("refused"),
            stream(*EVENTS[2:], first=3),
            reply(ended()),
        )
        assert [event.id async for event in found.events()] == [1, 2, 3, 4, 5, 6]
        server.will(reply(info()), stream(("done", {})), reply(ended("failed", error="no")))
        await found.refresh()
        with pytest.raises(errors.RunFailedError, match="no"):
            await found.wait()

    anyio.run(run)
    assert slept[0] == 0.5


def test_async_files(async_client: AsyncClient, server: FakeServer, tmp_path: Path) -> None:
    async def run() -> None:
        server.will(reply(ended()))
        found = await async_client.runs.get(ID)
        await found.resume()
        assert server.request.url.path == f"/v1/runs/{ID}/resume"
        await found.cancel()
        assert server.request.url.path == f"/v1/runs/{ID}/cancel"
        server.will(httpx.Response(200, content=b'{"a": 1}\n'))
        assert await found.evaluation() == [{"a": 1}]
        assert (await found.download("x", to=tmp_path)).read_bytes() == b'{"a": 1}\n'
        server.will(curve())
        assert len(await found.metrics()) == 5
        server.will(reply(ended()), httpx.Response(200, content=b"abc"))
        assert len(await found.download_all(to=tmp_path)) == 2

    anyio.run(run)
