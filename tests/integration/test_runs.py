"""A service that brings its own Redis and workers: one command runs everything, and nothing of it stays."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.queueing.embedded_redis import find_server
from tests.integration.running import Service, children_of, command_of, get, is_alive, running_service, wait_until

pytestmark = pytest.mark.skipif(find_server() is None, reason="no redis-server here")

TUNE = {
    "model": "tiny",
    "dataset": "sums",
    "method": {"kind": "soft", "n_virtual": 2},
    "priors": [{"kind": "isotropic"}, {"kind": "vocabulary"}],
    "optimizer": {"steps": 4, "batch_size": 2, "lr": 0.01},
    "eval": {"every": 2, "n": 2, "metrics": ["exact_match", "loss"], "samples": 100},
    "name": "sum",
}


@pytest.fixture
def own_service(model_path: Path, tmp_path: Path) -> Iterator[Service]:
    with running_service(tmp_path, models=f"tiny={model_path}", WORKERS="1", DEVICE="cpu") as started:
        yield started


def descendants_of(pid: int) -> list[int]:
    """Children, their children and so on."""
    children = children_of(pid)
    return [*children, *(found for child in children for found in descendants_of(child))]


def part(service: Service, name: str) -> dict[str, Any]:
    """What /ready says of a part."""
    answer: dict[str, Any] = get(f"{service.url}/ready").json()[name]
    return answer


def test_a_run_goes_from_a_request_to_a_prompt_that_is_served(own_service: Service) -> None:
    service = own_service
    service.wait_until_ready()
    wait_until(lambda: part(service, "workers")["status"] == "ok", why=service.log.read_text)
    assert part(service, "redis")["status"] == "ok"
    with httpx.Client(base_url=service.url, timeout=60) as http:
        lines = "".join(f'{{"input": "{n}+1=", "target": "{n + 1}"}}\n' for n in range(30))
        stored = http.post(
            "/v1/datasets",
            params={"name": "sums", "format": "jsonl"},
            content=lines,
            headers={"Content-Type": "application/jsonl"},
        )
        assert stored.status_code == 201, stored.text
        begun = http.post("/v1/runs", json={"kind": "tune", "spec": TUNE})
        assert begun.status_code == 202, begun.text
        run = _ended(http, begun.headers["Location"], service)
        assert run["status"] == "succeeded", run
        assert len(run["prompts"]) == 2
        answer = http.post("/v1/completions", json={"model": "tiny", "prompt": "1+1=", "prompt_ref": run["prompts"][0]})
        assert answer.status_code == 200, answer.text
        text = http.get("/metrics").text
        assert "promptatlas_n_workers 1.0" in text
        assert 'promptatlas_n_runs{status="running"}' in text
        _assert_redis_comes_back(service)
        assert http.get(begun.headers["Location"]).json() == run
        _assert_all_stop(service)


def _ended(http: httpx.Client, path: str, service: Service) -> dict[str, Any]:
    run: dict[str, Any] = {}

    def ended() -> bool:
        time.sleep(0.3)
        run.update(http.get(path).json())
        return run["status"] not in ("queued", "running")

    wait_until(ended, why=service.log.read_text)
    return run


def redis_of(service: Service) -> int | None:
    return next((pid for pid in children_of(service.pid) if "redis-server" in command_of(pid)[0]), None)


def _assert_redis_comes_back(service: Service) -> None:
    killed = redis_of(service)
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: redis_of(service) not in (None, killed))
    wait_until(lambda: part(service, "redis")["status"] == "ok" and part(service, "workers")["status"] == "ok")


def _assert_all_stop(service: Service) -> None:
    everyone = descendants_of(service.pid)
    assert redis_of(service) in everyone
    assert service.stop() == 0
    wait_until(lambda: not any(is_alive(pid) for pid in everyone))


def test_a_killed_main_process_takes_redis_and_workers_along(own_service: Service) -> None:
    def grown() -> bool:
        # Redis, the engine, the API; the workers' own main process, a worker, and the one that looks after runs.
        return len(descendants_of(own_service.pid)) >= 6

    wait_until(grown, why=own_service.log.read_text)
    everyone = descendants_of(own_service.pid)
    os.kill(own_service.pid, signal.SIGKILL)
    own_service.process.wait()
    wait_until(lambda: not any(is_alive(pid) for pid in everyone), why=lambda: [command_of(pid) for pid in everyone])
