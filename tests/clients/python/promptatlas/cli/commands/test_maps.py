"""``promptatlas map`` and ``promptatlas report``."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import numpy as np
import pytest
import safetensors.numpy

from tests.clients.python.promptatlas.cli.conftest import Run
from tests.clients.python.promptatlas.fake_maps import ID, PAGE, REPORT, ROW, map_reply, neighbors_reply, placed_reply
from tests.clients.python.promptatlas.fake_runs import EVENTS, ended, info, stream
from tests.clients.python.promptatlas.fake_server import FakeServer, reply
from tests.clients.python.promptatlas.resources.test_maps import parts
from tests.clients.python.promptatlas.resources.test_reports import files


def words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_a_map_of_options(run: Run, server: FakeServer) -> None:
    server.will(reply(info(id=ID, kind="map"), status=202))
    options = (
        "-m",
        "demo",
        "-d",
        "demo-qa",
        "-p",
        "qa@1",
        "-p",
        "qa@2",
        "--vocabulary",
        "--method",
        "umap",
        "-l",
        "0,-1",
    )
    shown = run("map", "make", *options, "--set", "sources.1.snapshots=true", "--name", "atlas")
    assert shown.output == f"{ID} map queued, 2 before it\n"
    sources = [
        {"dataset": "demo-qa", "name": "demo-qa"},
        {"prompts": ["qa@1", "qa@2"], "name": "prompts", "snapshots": True},
        {"embeddings": "vocabulary", "name": "vocabulary"},
    ]
    spec = {"model": "demo", "method": "umap", "layers": [0, -1], "sources": sources}
    assert server.sent == {"kind": "map", "name": "atlas", "spec": spec}


def test_options_add_to_a_file(run: Run, server: FakeServer, tmp_path: Path) -> None:
    file = tmp_path / "atlas.json"
    file.write_text(json.dumps({"model": "demo", "sources": [{"texts": ["Ana"]}], "seed": 3}))
    server.will(reply(info(id=ID, kind="map"), status=202), stream(*EVENTS), reply(ended(id=ID, kind="map")))
    shown = run("map", "make", str(file), "-m", "other", "-d", "demo-qa", "--watch")
    assert shown.exit_code == 0
    assert shown.stderr.splitlines()[0] == f"run {ID}"
    assert json.loads(server.requests[0].content)["spec"] == {
        "model": "other",
        "sources": [{"texts": ["Ana"]}, {"dataset": "demo-qa", "name": "demo-qa"}],
        "seed": 3,
    }


def test_a_map_without_sources_is_refused(run: Run, server: FakeServer) -> None:
    shown = run("map", "make", "-m", "demo")
    assert shown.exit_code == 1
    assert "sources" in shown.stderr
    assert server.requests == []


def test_lists(run: Run, server: FakeServer) -> None:
    server.will(reply({"data": [ROW], "has_more": True, "next": "c"}))
    assert words(run("map", "list", "-n", "1").output)[1] == [
        ID,
        "pca",
        "0,",
        "3",
        "10",
        "questions,",
        "tuned",
        "atlas",
    ]
    assert len(server.requests) == 1
    assert json.loads(run("map", "list", "-n", "1", "--json").output)[0]["id"] == ID


def test_one(run: Run, server: FakeServer, tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("plotly")
    server.will(map_reply())
    shown = run("map", "get", ID, "-l", "3", "-o", str(tmp_path / "points.csv"))
    lines = words(shown.output)
    assert lines[0] == [ID, "pca", "of", "demo,", "layers", "0,", "3:", "10", "points", "here"]
    assert lines[3] == ["0", "5", "0.5,", "0.25", "0.875"]
    assert dict(server.request.url.params) == {"layer": "3"}
    table = (tmp_path / "points.csv").read_text(encoding="utf-8").splitlines()
    assert len(table) == 11
    assert table[1].startswith("0.0,-0.0,0,,questions,state,Wo ist <Ana>?")
    page = tmp_path / "map.html"
    assert json.loads(run("map", "get", ID, "--json", "--color", "role", "-o", str(page)).output)["n_points"] == 10
    assert "plotly" in page.read_text(encoding="utf-8")
    assert run("map", "get", ID, "-o", str(tmp_path / "map.gif")).exit_code == 2


def test_projecting_texts(run: Run, server: FakeServer) -> None:
    server.will(map_reply(), placed_reply())
    shown = run("map", "project", ID, "-", "Ben", "-p", "qa@2", "--per-token", "-l", "all", input="Ana")
    assert server.sent == {"sources": [{"texts": ["Ana", "Ben"], "prompt_ref": "qa@2", "per": "token"}]}
    assert words(shown.output) == [["layer", "x", "y", "token", "text"], ["0", "0.5", "-0.5"], ["3", "10.5", "-10.5"]]


def test_projecting_vectors(run: Run, server: FakeServer, tmp_path: Path) -> None:
    file = tmp_path / "draw.safetensors"
    vectors = np.array([[1, 2]], np.float32)
    safetensors.numpy.save_file({"vectors": vectors, "more": vectors + 1}, file)
    server.will(map_reply(), placed_reply())
    shown = json.loads(run("map", "project", ID, "--vectors", str(file), "-l", "3", "--json").output)
    assert [(row["layer"], row["x"], row["source"]) for row in shown] == [(0, 0.5, "vectors"), (3, 10.5, "vectors")]
    sent = parts(server.request)
    assert json.loads(sent["request"])["layers"] == [3]
    np.testing.assert_array_equal(safetensors.numpy.load(sent["vectors"])["vectors"], vectors)
    safetensors.numpy.save_file({"one": vectors, "two": vectors}, file)
    assert (
        "expected a tensor 'vectors', or only one; got one, two"
        in run("map", "project", ID, "--vectors", str(file)).stderr
    )
    file.write_bytes(b"nothing")
    assert "expected a safetensors file" in run("map", "project", ID, "--vectors", str(file)).stderr
    server.will(map_reply())
    assert "expected texts, sources or vectors" in run("map", "project", ID).stderr


def test_neighbors(run: Run, server: FakeServer) -> None:
    server.will(map_reply(), neighbors_reply())
    shown = run("map", "neighbors", ID, "6", "-k", "2", "--metric", "cosine")
    assert dict(server.request.url.params) == {"layer": "3", "point": "1", "k": "2", "metric": "cosine"}
    assert words(shown.output)[1:] == [["2", "0.125", "draw", "tuned"], ["3", "0.5", "snapshot", "tuned"]]


def test_deletion(run: Run, server: FakeServer) -> None:
    server.will(httpx.Response(204))
    assert run("map", "delete", ID, input="n\n").exit_code == 1
    assert server.requests == []
    assert run("map", "delete", ID, "--yes").output == f"deleted {ID}\n"
    assert json.loads(run("map", "delete", ID, "-y", "--json").output) == {"deleted": ID}
    assert server.request.method == "DELETE"


def test_a_report(run: Run, server: FakeServer) -> None:
    server.will(reply(info(kind="report"), status=202))
    options = ("-m", "demo", "-d", "demo-qa", "-d", "demo-text", "-p", "qa@1", "--set", "n=50", "--name", "mine")
    assert run("report", "make", *options).exit_code == 0
    spec = {"model": "demo", "datasets": ["demo-qa", "demo-text"], "prompts": ["qa@1"], "n": 50}
    assert server.sent == {"kind": "report", "name": "mine", "spec": spec}


def test_reading_a_report(run: Run, server: FakeServer, tmp_path: Path) -> None:
    server.will(*files())
    page = tmp_path / "report.html"
    shown = words(run("report", "get", "run-7k3", "-o", str(page)).output)
    assert shown[2] == ["1", "confirmed", "Vectors", "stay"]
    assert shown[3] == ["5", "not", "measured", "Tasks", "<part>", "a", "second", "task"]
    assert page.read_text(encoding="utf-8") == PAGE
    server.will(*files())
    assert json.loads(run("report", "get", "run-7k3", "--json").output)["collapse"] == REPORT["collapse"]
