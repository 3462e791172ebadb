"""The service of the page tests: a store with a tuning run, a map and a report."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from tests.integration.running import ROOT, Service, wait_until

KEY = "the-key-of-the-page"
ARTIFACTS = ROOT / "test-artifacts" / "web"

RUN_NAME = 'starts <img src=x onerror="window.broken=1">'
"""A name with markup, which the page must show as text."""

TEXT = "<b>Felix</b> picked up the clock. Who has the clock?"

_TUNE = {
    "model": "demo",
    "dataset": "demo-qa",
    "name": "qa",
    "method": {"kind": "soft", "n_virtual": 4},
    "priors": [{"kind": "isotropic"}, {"kind": "vocabulary"}],
    "seeds": [0, 1],
    "optimizer": {"lr": 0.01, "steps": 30, "batch_size": 4},
    "eval": {"every": 10, "n": 4, "max_tokens": 3, "samples": 100},
    "snapshots": 3,
}
_MAP = {
    "model": "demo",
    "layers": [0, 3],
    "sample": 100,
    "sources": [
        {"embeddings": "vocabulary", "n": 200},
        {"dataset": "demo-qa", "n": 20},
        {"texts": [TEXT], "name": "mine <i>own</i>", "per": "token"},
        {"prompts": ["qa-isotropic-0", "qa-vocabulary-0"], "snapshots": True},
        {"trajectories": {"inputs": [TEXT], "max_tokens": 4}},
    ],
}
_REPORT = {
    "model": "demo",
    "datasets": ["demo-qa", "demo-arithmetic"],
    "prompts": ["qa-isotropic-0", "qa-vocabulary-0"],
    "layers": [0, 3],
    "n": 20,
    "n_trajectories": 2,
    "max_tokens": 3,
    "samples": 99,
}


@dataclass(frozen=True)
class World:
    """A running service and the ids of its finished runs."""

    service: Service
    http: httpx.Client
    tune: str
    map: str
    report: str

    @property
    def url(self) -> str:
        return self.service.url

    def get(self, path: str, **query: Any) -> Any:
        """JSON answer of a GET request to the API."""
        answer = self.http.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def start(self, kind: str, spec: dict[str, Any], *, name: str) -> str:
        """Start a run and return its id."""
        return start(self.http, kind, spec, name=name)

    def make(self, kind: str, spec: dict[str, Any], *, name: str) -> str:
        """Start a run, wait until it has succeeded, and return its id."""
        run_id = self.start(kind, spec, name=name)
        _wait(self.http, self.service, run_id)
        return run_id


@contextmanager
def live_run(world: World, *, name: str) -> Iterator[str]:
    """The id of a long tuning run with this name, which is cancelled at the end."""
    spec = tune_spec(name="live", seeds=[0], optimizer={"lr": 0.01, "steps": 5000, "batch_size": 2})
    run_id = world.start("tune", spec, name=name)
    try:
        yield run_id
    finally:
        world.http.post(f"/v1/runs/{run_id}/cancel")
        _wait_until_ended(world.http, world.service, run_id)


def key_setting() -> str:
    """The value of PROMPTATLAS_API_KEYS."""
    return f"page:admin:{hashlib.sha256(KEY.encode()).hexdigest()}"


def tune_spec(**changes: Any) -> dict[str, Any]:
    """The spec of a small tuning run."""
    return {**_TUNE, **changes}


def build(service: Service) -> World:
    """Run the jobs that the tests inspect and wait for them."""
    http = httpx.Client(base_url=service.url, headers={"X-API-Key": KEY}, timeout=60)
    tune = start(http, "tune", _TUNE, name=RUN_NAME)
    _wait(http, service, tune)
    map_id, report = start(http, "map", _MAP, name="small map"), start(http, "report", _REPORT, name="small report")
    _wait(http, service, map_id)
    _wait(http, service, report)
    return World(service, http, tune, map_id, report)


def start(http: httpx.Client, kind: str, spec: dict[str, Any], *, name: str) -> str:
    """Start a run and return its id."""
    answer = http.post("/v1/runs", json={"kind": kind, "spec": spec, "name": name})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def _wait(http: httpx.Client, service: Service, run_id: str) -> None:
    run = _wait_until_ended(http, service, run_id)
    assert run["status"] == "succeeded", run


def _wait_until_ended(http: httpx.Client, service: Service, run_id: str) -> dict[str, Any]:
    run: dict[str, Any] = {}

    def ended() -> bool:
        time.sleep(0.2)
        run.update(http.get(f"/v1/runs/{run_id}").json())
        return run["status"] not in ("queued", "running")

    wait_until(ended, why=service.log.read_text)
    return run
