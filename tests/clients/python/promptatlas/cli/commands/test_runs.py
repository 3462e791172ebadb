"""``promptatlas runs``, ``promptatlas priors`` and ``promptatlas tune``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import safetensors.numpy
from promptatlas import Run as RunHandle

from tests.clients.python.promptatlas.cli.conftest import Run
from tests.clients.python.promptatlas.fake_runs import EVENTS, ID, TUNE_SPEC, ended, info, stream
from tests.clients.python.promptatlas.fake_server import FakeServer, problem, reply
from tests.clients.python.promptatlas.resources.test_priors import VECTORS, draw


def words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_lists(run: Run, server: FakeServer) -> None:
    running = info(id="run-1", status="running", progress={"step": 3, "total": 20})
    server.will(reply({"data": [info(), running], "has_more": True, "next": "c"}))
    shown = words(run("runs", "list", "-k", "tune", "-s", "queued", "-n", "2").output)
    assert shown[1][:6] == [ID, "tune", "queued", "2", "before", "it"]
    assert shown[2][:4] == ["run-1", "tune", "running", "3/20"]
    assert dict(server.request.url.params) == {"kind": "tune", "status": "queued", "limit": "2"}
    assert len(server.requests) == 1
    assert [row["id"] for row in json.loads(run("runs", "list", "-n", "1", "--json").output)] == [ID]
    assert run("runs", "list", "--status", "lost").exit_code == 2
    unknown = run("runs", "list", "--kind", "teach")
    assert unknown.exit_code == 2
    assert all(
        f"'{kind}'" in unknown.output
        for kind in ("tune", "distill", "evaluate", "generate", "batch", "harvest", "map", "report", "sample")
    )


def test_one(run: Run, server: FakeServer) -> None:
    server.will(reply(ended()))
    assert ["status", "succeeded"] in words(run("runs", "get", ID).output)
    assert json.loads(run("runs", "get", ID, "--json").output)["metrics"] == {"test/exact_match": 0.875}


def test_annotating(run: Run, server: FakeServer) -> None:
    server.will(reply(info()), reply(info(notes="slow", tags=["pilot", "paper"])))
    shown = words(run("runs", "annotate", ID, "--notes", "slow", "-t", "pilot", "-t", "paper").output)
    assert ["notes", "slow"] in shown
    assert json.loads(server.request.content) == {"notes": "slow", "tags": ["pilot", "paper"]}
    server.will(reply(info()), reply(info()))
    assert json.loads(run("runs", "annotate", ID, "--no-tags", "--json").output)["tags"] == []
    assert json.loads(server.request.content) == {"tags": []}
    n_sent = len(server.requests)
    for arguments in ((), ("--no-tags", "-t", "pilot")):
        assert run("runs", "annotate", ID, *arguments).exit_code == 2
    assert len(server.requests) == n_sent


def test_watching(run: Run, server: FakeServer) -> None:
    outcome = {"test/f1": 0.875, "test/f1_low": 0.75, "test/f1_high": 1.0, "n_high": 3.0}
    server.will(reply(info()), stream(*EVENTS), reply(ended(metrics=outcome)))
    shown = run("runs", "watch", ID)
    assert shown.exit_code == 0
    assert shown.stderr.splitlines() == [
        "status: running",
        "warning: b: NaN at step 12, rolled back",
    ]
    assert words(shown.stdout) == [
        [ID, "tune", "succeeded"],
        ["prompts:", "qa@1,", "qa@2"],
        ["metric", "value", "interval"],
        ["test/f1", "0.875", "0.75", "–", "1"],
        ["n_high", "3"],
    ]
    server.will(reply(info()), stream(*EVENTS), reply(ended()))
    assert json.loads(run("runs", "watch", ID, "--json").stdout)["prompts"] == ["qa@1", "qa@2"]


def test_watching_a_run_that_fails(run: Run, server: FakeServer) -> None:
    server.will(reply(info()), stream(("done", {})), reply(ended("failed", error="no memory")))
    shown = run("runs", "watch", ID)
    assert (shown.exit_code, shown.stderr) == (1, f"error: run {ID} failed: no memory\n")


def test_an_interrupted_watch_prints_how_to_continue(
    run: Run, server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_run: RunHandle) -> Any:
        raise KeyboardInterrupt

    server.will(reply(info()))
    monkeypatch.setattr(RunHandle, "events", interrupted)
    shown = run("runs", "watch", ID)
    assert (shown.exit_code, shown.stderr) == (130, f"run {ID} continues: promptatlas runs watch {ID}\n")


def test_cancelling_and_resuming(run: Run, server: FakeServer) -> None:
    server.will(reply(info(status="running", queue_position=None)), reply(ended("cancelled")))
    assert run("runs", "cancel", ID).output == f"{ID} tune cancelled\n"
    assert server.request.url.path == f"/v1/runs/{ID}/cancel"
    server.will(reply(ended("cancelled")), reply(info(), status=202))
    assert run("runs", "resume", ID).output == f"{ID} tune queued, 2 before it\n"
    assert server.request.url.path == f"/v1/runs/{ID}/resume"
    server.will(reply(ended("cancelled")), reply(info(), status=202), stream(*EVENTS), reply(ended()))
    assert words(run("runs", "resume", ID, "--watch").stdout)[0] == [ID, "tune", "succeeded"]


def test_events(run: Run, server: FakeServer) -> None:
    server.will(reply(info()), stream(*EVENTS[1:], first=2), reply(ended()))
    shown = run("runs", "events", ID, "--after", "1").output.splitlines()
    assert shown[0] == "2  metric  step=10  member=a  loss=2.5  lr=0.001"
    assert shown[-1] == "6  done  status=succeeded  error=null"
    assert server.requests[1].headers["last-event-id"] == "1"
    server.will(reply(info()), stream(*EVENTS), reply(ended()))
    lines = [json.loads(line) for line in run("runs", "events", ID, "--json").output.splitlines()]
    assert [(line["id"], line["type"]) for line in lines][:2] == [(1, "status"), (2, "metric")]


def test_artifacts(run: Run, server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    server.will(reply(ended()))
    assert words(run("runs", "artifacts", ID).output)[1][:2] == ["spec.json", "3"]
    assert [file["path"] for file in json.loads(run("runs", "artifacts", ID, "--json").output)] == [
        "spec.json",
        "draws/qa@1",
    ]
    server.will(reply(ended()), httpx.Response(200, content=b"abc"))
    assert run("runs", "download", ID, "draws/qa@1").output == "qa@1: 3 bytes\n"
    server.will(reply(ended()), reply(ended()), httpx.Response(200, content=b"abc"))
    shown = json.loads(run("runs", "download", ID, "-o", "all", "--json").output)
    assert shown == [{"path": f"all/{path}", "bytes": 3} for path in ("spec.json", "draws/qa@1")]


@pytest.mark.parametrize(
    ("text", "prior"),
    [
        ("vocabulary", {"kind": "vocabulary"}),
        ('{"kind": "isotropic", "std": 0.5}', {"kind": "isotropic", "std": 0.5}),
        ("prior.yaml", {"kind": "isotropic", "std": 0.001}),
    ],
)
def test_sampling(
    run: Run, server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, prior: dict[str, Any]
) -> None:
    pytest.importorskip("yaml")
    monkeypatch.chdir(tmp_path)
    Path("prior.yaml").write_text("kind: isotropic\nstd: 1e-3\n")
    server.will(reply(ended(kind="sample"), status=202), draw())
    shown = run("priors", "sample", "demo", text, "-n", "2", "--seed", "3", "-l", "-1", "--json")
    assert json.loads(shown.output)["shape"] == [2, 3]
    sent = json.loads(server.requests[0].content)
    assert sent == {"model": "demo", "prior": prior, "n": 2, "seed": 3, "layer": -1}
    np.testing.assert_array_equal(safetensors.numpy.load_file("draw.safetensors")["vectors"], VECTORS)
    server.will(reply(ended(kind="sample"), status=202), draw())
    assert run("priors", "sample", "demo", text).output.startswith("draw.safetensors: 2 × 3 values, standard deviation")


def test_tuning(run: Run, server: FakeServer, tmp_path: Path) -> None:
    file = tmp_path / "sweep.json"
    file.write_text(json.dumps(TUNE_SPEC))
    server.will(reply(info(), status=202))
    shown = run("tune", str(file), "--set", "optimizer.lr=0.5", "--set", "priors.0.std=0.1", "--name", "second")
    assert shown.output == f"{ID} tune queued, 2 before it\n"
    spec = {**TUNE_SPEC, "optimizer": {"lr": 0.5}, "priors": [{"kind": "isotropic", "std": 0.1}]}
    assert server.sent == {"kind": "tune", "spec": spec, "name": "second"}


def test_tuning_and_watching(run: Run, server: FakeServer) -> None:
    server.will(reply(info(), status=202), stream(*EVENTS), reply(ended()))
    shown = run("tune", "-", "--watch", "--json", input=json.dumps(TUNE_SPEC))
    assert shown.exit_code == 0
    assert json.loads(shown.stdout)["status"] == "succeeded"
    assert shown.stderr.startswith(f"run {ID}\n")


def test_an_invalid_spec(run: Run, server: FakeServer) -> None:
    shown = run("tune", "-", input=json.dumps({**TUNE_SPEC, "seed": 3}))
    assert shown.exit_code == 1
    assert "seed: Extra inputs are not permitted" in shown.stderr
    assert server.requests == []
    server.will(problem(422, "layers.0: expected 0 to 5, got 9"))
    shown = run("tune", "-", input=json.dumps(TUNE_SPEC))
    assert (shown.exit_code, shown.stderr) == (
        1,
        "error: 422 Problem: layers.0: expected 0 to 5, got 9 (request req_9)\n",
    )


def test_deleting_a_run_requires_confirmation(run: Run, server: FakeServer) -> None:
    server.will(httpx.Response(204))
    assert run("runs", "delete", ID, input="n\n").exit_code == 1
    assert server.requests == []
    assert run("runs", "delete", ID, "--yes").output == f"deleted {ID}\n"
    assert json.loads(run("runs", "delete", ID, "-y", "--json").output) == {"deleted": ID}
    assert server.request.method == "DELETE"
