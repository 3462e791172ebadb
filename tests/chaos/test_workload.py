"""The runs of ``make chaos``: every kind has one, whose spec is valid; and what results of runs are compared by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from promptatlas.types import RUN_KINDS, RunKind

from tests.chaos.processes import Broken
from tests.chaos.workload import checkpoints_of, fingerprint, spec_of

RUN = {
    "kind": "tune",
    "status": "succeeded",
    "error": None,
    "metrics": {"test/loss": 0.5, "train_s": 9.0},
    "artifacts": [{"path": "draws/mine@1.safetensors"}, {"path": "tensorboard/events.1"}],
    "prompts": ["mine@1"],
    "created_at": "2026-01-01T00:00:00Z",
    "started_at": "2026-01-01T00:00:01Z",
    "ended_at": "2026-01-01T00:00:02Z",
}


@pytest.mark.parametrize("kind", RUN_KINDS)
def test_every_kind_of_run_is_disturbed(kind: RunKind) -> None:
    spec = spec_of(kind, name="mine")
    RUN_KINDS[kind].spec.model_validate_json(json.dumps(spec))


def client(run_id: str, *, name: str, draw: bytes = b"draw", **changes: Any) -> httpx.Client:
    """A server with one run of this name, whose files also contain its id and times."""
    run = json.loads(json.dumps({**RUN, **changes}).replace("mine", name))
    contents = {
        f"/v1/runs/{run_id}": json.dumps(run).encode(),
        f"/v1/runs/{run_id}/artifacts/draws/{name}@1.safetensors": f"{run_id} {name} {run['ended_at']} ".encode()
        + draw,
        f"/v1/prompts/{name}/versions/1": b'{"sha256": "sha256:0"}',
    }
    transport = httpx.MockTransport(lambda request: httpx.Response(200, content=contents[request.url.path]))
    return httpx.Client(transport=transport, base_url="http://test")


def test_fingerprints_ignore_names_ids_and_times_and_nothing_else() -> None:
    one = fingerprint(client("run-1k10t9g4v3edf5mv8", name="mine"), "run-1k10t9g4v3edf5mv8", name="mine")
    later: dict[str, Any] = {"ended_at": "2026-02-02T00:00:00Z", "metrics": {"test/loss": 0.5, "train_s": 1.0}}
    other = fingerprint(client("run-2k10t9g4v3edf5mv9", name="also", **later), "run-2k10t9g4v3edf5mv9", name="also")
    assert one == other
    assert set(one) == {"metrics", "draws/NAME@1.safetensors", "prompt NAME@1"}
    worse = client("run-1k10t9g4v3edf5mv8", name="mine", metrics={"test/loss": 0.6})
    harmed = client("run-1k10t9g4v3edf5mv8", name="mine", draw=b"dra\x77"[:-1] + b"x")
    for http, part in ((worse, "metrics"), (harmed, "draws/NAME@1.safetensors")):
        found = fingerprint(http, "run-1k10t9g4v3edf5mv8", name="mine")
        assert [path for path in one if found[path] != one[path]] == [part]


def test_a_run_that_failed_has_no_fingerprint() -> None:
    http = client("run-1k10t9g4v3edf5mv8", name="mine", status="failed", error="it was too hard")
    with pytest.raises(Broken, match="it was too hard"):
        fingerprint(http, "run-1k10t9g4v3edf5mv8", name="mine")


def test_checkpoints_and_shards_are_what_a_run_has_saved(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "run-1"
    for place in ("checkpoints/0", "outputs/shards%2F000.safetensors", "outputs/spec.json"):
        (folder / place).mkdir(parents=True)
        (folder / place / "manifest.json").write_text("{}")
    assert len(checkpoints_of(tmp_path, "run-1")) == 2
    assert checkpoints_of(tmp_path, "run-2") == frozenset()
