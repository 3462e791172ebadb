from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import StreamingResponse

from service.api.routes.runs.events import EventFeed, Polling
from service.errors import NotFound, Unavailable
from service.store.artifacts.store import ArtifactStore
from service.store.runs.records import StoredEvent
from service.store.runs.store import RunStore
from tests.service.api.conftest import World
from tests.service.api.run_world import start, with_queue, work_on

POLLING = Polling(least_s=0.5, most_s=2.0, heartbeat_s=5.0)


def read(text: str) -> list[tuple[str, ...]]:
    """(id, type, data) of each event; comments as (text,)."""
    found: list[tuple[str, ...]] = []
    for block in text.strip().split("\n\n"):
        lines = block.split("\n")
        if block.startswith(":"):
            found.append((block,))
            continue
        assert [line.partition(": ")[0] for line in lines] == ["event", "data", "id"]
        event, data, id_ = (line.partition(": ")[2] for line in lines)
        found.append((id_, event, data))
    return found


def events_in(text: str) -> list[tuple[str, ...]]:
    return [event for event in read(text) if len(event) == 3]


@pytest.fixture
def ended(world: World) -> str:
    """A run that has ended: events 1 queued, 2 running, 3 metric, 4 log, 5 done."""
    with_queue(world)
    run_id = start(world)
    writer = work_on(world, run_id)
    writer.emit("metric", {"step": 1, "loss": 0.5})
    writer.emit("log", {"level": "info", "text": "ünï\u2028\ncödé"})
    writer.finish("succeeded", metrics={"test/f1": 1.0})
    return run_id


def test_a_finished_runs_events_come_again_and_end(world: World, ended: str) -> None:
    answer = world.client.get(f"/v1/runs/{ended}/events")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    events = events_in(answer.text)
    assert [event[0] for event in events] == ["1", "2", "3", "4", "5"]
    assert [event[1] for event in events] == ["status", "status", "metric", "log", "done"]
    data = [json.loads(event[2]) for event in events]
    assert datetime.fromisoformat(data[2].pop("time")).tzinfo is not None
    assert data[2:4] == [{"step": 1, "loss": 0.5}, {"level": "info", "text": "ünï\u2028\ncödé"}]
    assert (data[4]["status"], data[4]["metrics"]) == ("succeeded", {"test/f1": 1.0})


@pytest.mark.parametrize(
    ("query", "headers", "ids"),
    [
        ("", {"Last-Event-ID": "3"}, ["4", "5"]),
        ("?after=4", {}, ["5"]),
        ("?after=1", {"Last-Event-ID": "4"}, ["5"]),
        ("?after=5", {}, []),
        ("?after=999", {}, []),
    ],
)
def test_events_go_on_behind_the_last_known_one(
    world: World, ended: str, query: str, headers: dict[str, str], ids: list[str]
) -> None:
    answer = world.client.get(f"/v1/runs/{ended}/events{query}", headers=headers)
    assert answer.status_code == 200
    assert [event[0] for event in events_in(answer.text)] == ids


@pytest.mark.parametrize(("query", "headers"), [("?after=-1", {}), ("?after=x", {}), ("", {"Last-Event-ID": "x"})])
def test_what_is_no_id_of_an_event_is_refused(world: World, ended: str, query: str, headers: dict[str, str]) -> None:
    assert world.client.get(f"/v1/runs/{ended}/events{query}", headers=headers).status_code == 422


def test_a_cancelled_run_that_nobody_worked_on_has_an_end_too(world: World) -> None:
    with_queue(world)
    run_id = start(world)
    world.client.post(f"/v1/runs/{run_id}/cancel")
    assert [event[1] for event in events_in(world.client.get(f"/v1/runs/{run_id}/events").text)][-1] == "done"


def test_only_the_last_end_of_a_resumed_run_is_one(world: World, ended: str) -> None:
    run_id = start(world)
    work_on(world, run_id).finish("failed", error="no")
    world.client.post(f"/v1/runs/{run_id}/resume")
    work_on(world, run_id).finish("succeeded")
    types = [event[1] for event in events_in(world.client.get(f"/v1/runs/{run_id}/events").text)]
    assert types.count("done") == 1
    assert types[-1] == "done"


class Clock:
    """Stands in for sleeping: notes how long, and does what is planned for that moment."""

    def __init__(self, *acts: Callable[[], object]) -> None:
        self.slept: list[float] = []
        self._acts = list(acts)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if self._acts:
            await asyncio.to_thread(self._acts.pop(0))


def nothing() -> None:
    return None


@pytest.fixture
def runs(tmp_path: Path) -> RunStore:
    return RunStore(ArtifactStore(str(tmp_path)))


def follow(
    runs: Any, run_id: str, clock: Clock, *, after: int = 0, stopping: Callable[[], bool] = lambda: False
) -> str:
    async def collect() -> str:
        feed = EventFeed(runs, run_id, after=after, stopping=stopping, polling=POLLING, sleep=clock.sleep)
        stream: AsyncIterator[bytes] = await feed.open()
        return b"".join([piece async for piece in stream]).decode()

    return asyncio.run(collect())


def test_events_come_as_they_happen(runs: RunStore) -> None:
    run_id = runs.create("tune", spec={}).id
    writers: list[Any] = []

    def begin() -> None:
        writers.append(runs.claim(run_id, worker="w"))

    def end() -> None:
        writers[0].finish("succeeded")

    clock = Clock(begin, nothing, end)
    events = events_in(follow(runs, run_id, clock))
    assert [event[1] for event in events] == ["status", "status", "done"]
    assert clock.slept == [0.5, 0.5, 0.65]


def test_the_longer_nothing_happens_the_seldomer_it_looks_and_says_so(runs: RunStore) -> None:
    run_id = runs.create("tune", spec={}).id
    clock = Clock(*[nothing] * 11, lambda: runs.request_cancel(run_id))
    found = read(follow(runs, run_id, clock, after=1))
    assert clock.slept == sorted(clock.slept)
    assert (clock.slept[0], clock.slept[-1]) == (0.5, 2.0)
    # 18 s in all, a sign of life each time that more than 5 s were silent.
    assert found.count((": still here",)) == 3


def test_a_stopping_server_ends_its_streams(runs: RunStore) -> None:
    run_id = runs.create("tune", spec={}).id
    clock = Clock()
    events = events_in(follow(runs, run_id, clock, stopping=lambda: len(clock.slept) > 0))
    assert [event[1] for event in events] == ["status"]


def test_more_events_than_are_read_at_once_come_without_a_pause(runs: RunStore) -> None:
    run_id = runs.create("tune", spec={}).id
    writer = runs.claim(run_id, worker="w")
    for step in range(2500):
        writer.emit("metric", {"step": step})
    writer.finish("succeeded")
    clock = Clock()
    events = events_in(follow(runs, run_id, clock))
    assert [int(event[0]) for event in events] == list(range(1, 2504))
    assert clock.slept == []


class Flaky:
    """A store that is out of reach at the second look."""

    def __init__(self, runs: RunStore) -> None:
        self._runs = runs
        self.n_looks = 0
        self.get = runs.get

    def events(self, run_id: str, *, after: int, limit: int) -> list[StoredEvent]:
        self.n_looks += 1
        if self.n_looks == 2:
            raise Unavailable("The store cannot be reached.")
        return self._runs.events(run_id, after=after, limit=limit)


def test_a_store_that_is_away_for_a_while_breaks_no_stream(runs: RunStore) -> None:
    run_id = runs.create("tune", spec={}).id
    flaky = Flaky(runs)
    events = events_in(follow(flaky, run_id, Clock(nothing, lambda: runs.request_cancel(run_id))))
    assert [event[1] for event in events] == ["status", "done"]
    assert flaky.n_looks == 3


def test_what_is_not_there_is_known_before_the_stream_begins(runs: RunStore) -> None:
    with pytest.raises(NotFound):
        follow(runs, "nope", Clock())


def test_a_client_that_goes_away_ends_the_looking(runs: RunStore) -> None:
    run_id = runs.create("tune", spec={}).id

    async def answer_one_who_leaves() -> list[bytes]:
        has_begun = asyncio.Event()
        sent: list[bytes] = []

        async def receive() -> Any:
            await has_begun.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message.get("body", b""))
            if b"event: status" in sent[-1]:
                has_begun.set()

        async def sleep_for_ever(_: float) -> None:
            await asyncio.Event().wait()

        feed = EventFeed(runs, run_id, after=0, stopping=lambda: False, sleep=sleep_for_ever)
        response = StreamingResponse(await feed.open())
        await asyncio.wait_for(response({"type": "http", "asgi": {"spec_version": "2.3"}}, receive, send), 60)
        return sent

    assert b"event: status" in b"".join(asyncio.run(answer_one_who_leaves()))
