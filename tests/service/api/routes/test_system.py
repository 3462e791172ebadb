from __future__ import annotations

import asyncio
import re
import uuid
from typing import Any

import fsspec
import pytest

from service.api.readiness import ComponentChecks
from service.errors import StoreFull
from service.queueing.monitor import QueueNumbers
from service.queueing.queue import RunCounts
from tests.service.api.conftest import OpenWorld, World
from tests.service.queueing.conftest import redis_server
from tests.service.queueing.redis_server import RedisServer

__all__ = ["redis_server"]

CAPTURE = {"model": "demo", "inputs": ["hi"], "sites": ["embed"]}


def test_health_is_the_process_alone(open_world: OpenWorld) -> None:
    assert open_world(ready=False).client.get("/health").json() == {"status": "ok"}


def test_readiness_names_each_part(world: World) -> None:
    answer = world.client.get("/ready")
    assert answer.status_code == 200
    body = answer.json()
    assert body["status"] == "ready"
    assert (body["engine"]["status"], body["store"]["status"], body["redis"]["status"]) == ("ok", "ok", "off")


def test_an_engine_that_starts_or_is_lost_is_not_ready(open_world: OpenWorld) -> None:
    starting, lost = open_world(ready=False), open_world()
    lost.engine.on_lost()
    for world, status in ((starting, "starting"), (lost, "lost")):
        answer = world.client.get("/ready")
        assert answer.status_code == 503
        assert answer.json()["engine"]["status"] == status
        refused = world.client.post("/v1/activations", json=CAPTURE)
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1


def test_a_draining_service_is_not_ready_but_takes_requests(world: World) -> None:
    world.engine.drain()
    answer = world.client.get("/ready")
    assert answer.status_code == 503
    assert answer.json()["engine"] == {"status": "lost", "detail": "stopping", "problem": None, "count": None}
    assert world.client.post("/v1/activations", json=CAPTURE).status_code == 200


def test_after_its_drain_time_a_service_refuses_all_but_probes(world: World) -> None:
    world.engine.drain()
    world.services.intake.close()
    for method, path in (("POST", "/v1/activations"), ("POST", "/v1/completions"), ("GET", "/v1/models"), ("GET", "/")):
        refused = world.client.request(method, path, json=CAPTURE)
        assert refused.status_code == 503
        assert "shutting down" in refused.text
        assert int(refused.headers["retry-after"]) >= 1
        assert refused.headers["connection"] == "close"
        assert refused.headers["x-request-id"]
    assert world.client.get("/health").status_code == 200
    assert world.client.get("/ready").status_code == 503
    assert world.client.get("/metrics").status_code == 200


def test_a_redis_that_does_not_answer_is_named_but_models_run_without_it(open_world: OpenWorld) -> None:
    world = open_world(redis_url="redis://127.0.0.1:1/0")
    answer = world.client.get("/ready")
    assert answer.status_code == 200
    assert answer.json()["redis"]["status"] == "lost"


def test_workers_are_named_and_models_run_without_them(open_world: OpenWorld, redis_server: RedisServer) -> None:
    world = open_world(redis_url=redis_server.url, workers=0)
    watch = world.services.queue_watch
    assert watch is not None
    assert world.client.get("/ready").json()["workers"]["status"] == "starting"
    watch.check()
    answer = world.client.get("/ready").json()
    assert (answer["status"], answer["redis"]["status"], answer["workers"]["status"]) == ("ready", "ok", "off")
    watch.numbers = QueueNumbers(counts=RunCounts(n_queued=3, n_running=1), n_workers=2)
    workers = {"status": "ok", "detail": "2 workers, running or idle", "problem": None, "count": 2}
    assert world.client.get("/ready").json()["workers"] == workers
    text = world.client.get("/metrics").text
    assert 'promptatlas_n_runs{status="queued"} 3.0' in text
    assert 'promptatlas_n_runs{status="running"} 1.0' in text
    assert "promptatlas_n_workers 2.0" in text
    watch.numbers = None
    assert "promptatlas_queue_up 0.0" in world.client.get("/metrics").text


def test_without_redis_there_are_no_workers(world: World) -> None:
    assert world.client.get("/ready").json()["workers"]["status"] == "off"
    assert "promptatlas_n_workers" not in world.client.get("/metrics").text


async def _state_of_a_broken_store() -> str:
    def fail() -> None:
        raise OSError("/secret")

    state = await ComponentChecks(check_store=fail).store()
    assert "secret" not in str(state)
    return state.status


def test_readiness_names_the_cause_of_a_store_that_cannot_be_written() -> None:
    def fail() -> None:
        raise StoreFull("The store could not be written: No space left on device.")

    state = asyncio.run(ComponentChecks(check_store=fail).store())
    assert (state.status, state.detail) == ("lost", "The store could not be written: No space left on device.")


def test_a_store_out_of_reach_is_lost() -> None:
    assert asyncio.run(_state_of_a_broken_store()) == "lost"


def test_metrics_count_requests_by_route_and_show_the_engine(world: World) -> None:
    world.client.get("/v1/models/demo")
    world.client.get("/v1/models/other")
    world.client.get("/v1/whatever")
    text = world.client.get("/metrics").text
    assert 'promptatlas_requests_total{method="GET",route="/v1/models/{model_id}",status="200"} 2.0' in text
    assert 'promptatlas_requests_total{method="GET",route="unmatched",status="404"} 1.0' in text
    assert re.search(r'promptatlas_request_seconds_count\{method="GET",route="/v1/models/\{model_id\}"\} 2', text)
    assert 'promptatlas_engine_n_tokens_total{engine="0",model="other"} 13.0' in text
    assert 'promptatlas_engine_n_running{engine="0",model="demo"} 2.0' in text
    assert 'promptatlas_engine_up{engine="0"} 1.0' in text


def test_capabilities_are_the_settings(open_world: OpenWorld) -> None:
    body = open_world(max_batch=7, max_capture_bytes=99).client.get("/v1/capabilities").json()
    assert (body["max_batch"], body["max_capture_bytes"], body["max_tokens"]) == (7, 99, 64)
    assert body["versions"]["torch"] == "2"
    assert body["run_kinds"] == [
        "tune",
        "distill",
        "evaluate",
        "generate",
        "batch",
        "harvest",
        "map",
        "report",
        "sample",
    ]


def test_busy_when_too_many_wait(open_world: OpenWorld) -> None:
    world = open_world(max_pending=1, script=lambda _message: [])
    world.engine._pending["somebody"] = None  # type: ignore[assignment]
    answer = world.client.post("/v1/activations", json=CAPTURE)
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1


class ReadOnly:
    """A driver whose credentials may list and read, but not write: S3's errors have no number."""

    def __init__(self, filesystem: Any) -> None:
        self._filesystem = filesystem

    def __getattr__(self, name: str) -> Any:
        if name in ("pipe_file", "put_file", "rm_file", "makedirs"):
            return self._deny
        return getattr(self._filesystem, name)

    def _deny(self, *_: Any, **__: Any) -> None:
        raise PermissionError("Access Denied to secret")


def test_credentials_that_may_not_write_are_not_ready(open_world: OpenWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    real = fsspec.core.url_to_fs

    def url_to_fs(url: str, **options: Any) -> Any:
        filesystem, root = real(url, **options)
        return ReadOnly(filesystem), root

    monkeypatch.setattr(fsspec.core, "url_to_fs", url_to_fs)
    world = open_world(home=f"memory://{uuid.uuid4().hex}")
    answer = world.client.get("/ready")
    assert answer.status_code == 503
    assert answer.json()["store"] == {
        "status": "lost",
        "detail": "The store could not be written: Permission denied.",
        "problem": "urn:promptatlas:problem:store-read-only",
        "count": None,
    }
