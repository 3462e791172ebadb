"""The examples in docs/sdk.md run as they stand, one after the other."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import promptatlas
import pytest
import typer
from promptatlas.cli import create_app
from promptatlas.cli.spec_files import parsed
from promptatlas.types import TuneSpec

from tests.clients.python.promptatlas.fake_harvest import FakeHarvest, states
from tests.clients.python.promptatlas.fake_maps import ID as MAP_ID
from tests.clients.python.promptatlas.fake_maps import PAGE, REPORT, map_reply, neighbors_reply, placed_reply
from tests.clients.python.promptatlas.fake_maps import ROW as MAP_ROW
from tests.clients.python.promptatlas.fake_runs import EVENTS, ID, curve, ended, info, stream
from tests.clients.python.promptatlas.fake_server import (
    STREAMED,
    activation_tensors,
    events,
    problem,
    reply,
    tensor_bytes,
    tensors_reply,
)
from tests.clients.python.promptatlas.resources import test_datasets
from tests.clients.python.promptatlas.resources.test_completions import COMPLETION
from tests.clients.python.promptatlas.resources.test_priors import draw
from tests.clients.python.promptatlas.resources.test_prompts import MANIFEST, ROWS, page
from tests.clients.python.promptatlas.resources.test_system import CARD, ENTRIES, PARTS
from tests.clients.python.promptatlas.results.tensors.test_trajectories import result as trajectory_bytes

TEXT = (Path(__file__).parents[4] / "docs" / "sdk.md").read_text(encoding="utf-8")


def answer(request: httpx.Request) -> httpx.Response:
    """A server of one model and one prompt."""
    content = request.read()
    if b'"demo:missing"' in content:
        return problem(404)
    if b'"stream": true' in content:
        return httpx.Response(200, content=events(COMPLETION), headers=STREAMED)
    if request.url.path.endswith("/content"):
        return httpx.Response(200, content=b"file")
    if request.url.path == "/v1/runs" and request.method == "POST":
        kind = json.loads(content)["kind"]
        return reply((info if kind in ("tune", "evaluate") else ended)(kind=kind), status=202)
    if "/artifacts/" in request.url.path:
        return artifact(request.url.path.rpartition("/")[2])
    return ANSWERS[f"{request.method} {request.url.path}"]()


def artifact(name: str) -> httpx.Response:
    """An artifact of a run."""
    if name == "draw.safetensors":
        return draw()
    return httpx.Response(200, content=FILES.get(name, ROW))


ROW = b'{"prompt": "qa@1", "output": "kitchen"}\n'
SHARDS = {path.rpartition("/")[2]: content for path, content in FakeHarvest().files.items()}
FILES = {"report.json": json.dumps(REPORT).encode(), "report.html": PAGE.encode(), **SHARDS}
ANSWERS = {
    "GET /ready": lambda: reply({"status": "ready", **PARTS}),
    "GET /v1/models": lambda: reply({"data": ENTRIES}),
    "GET /v1/models/demo": lambda: reply(CARD),
    "POST /v1/completions": lambda: reply(COMPLETION),
    "POST /v1/activations": lambda: tensors_reply(tensor_bytes(activation_tensors())),
    "POST /v1/activations/estimate": lambda: reply({"n_tokens": 7, "bytes": 84, "seconds": 0.25}),
    "POST /v1/trajectories": lambda: tensors_reply(trajectory_bytes()),
    "POST /v1/prompts": lambda: reply(MANIFEST, status=201),
    "GET /v1/prompts": lambda: page({**ROWS[2], "aliases": {"production": 3}}),
    "GET /v1/prompts/qa": lambda: reply(MANIFEST),
    "GET /v1/prompts/qa/versions/3": lambda: reply(MANIFEST),
    "PUT /v1/prompts/qa/aliases/production": lambda: reply({"name": "qa", "alias": "production", "version": 3}),
    "POST /v1/datasets": lambda: reply(test_datasets.MANIFEST, status=201),
    "GET /v1/datasets": lambda: reply({"data": [test_datasets.MANIFEST]}),
    "GET /v1/datasets/rivers": lambda: reply(test_datasets.PEEK),
    "GET /v1/datasets/answers": lambda: reply(test_datasets.PEEK),
    "GET /v1/datasets/demo-qa": lambda: reply(test_datasets.PEEK),
    "POST /v1/priors/sample": lambda: reply(ended(kind="sample"), status=202),
    f"GET /v1/runs/{ID}": lambda: reply(ended()),
    f"GET /v1/runs/{ID}/events": lambda: stream(*EVENTS),
    f"GET /v1/runs/{ID}/metrics": curve,
    "GET /v1/maps": lambda: reply({"data": [MAP_ROW]}),
    f"GET /v1/maps/{ID}": map_reply,
    f"POST /v1/maps/{MAP_ID}/project": placed_reply,
    f"GET /v1/maps/{MAP_ID}/neighbors": neighbors_reply,
}


def test_the_python_examples_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for wanted in ("torch", "pandas", "plotly"):
        pytest.importorskip(wanted)
    pytest.importorskip("matplotlib").use("agg")
    fake = httpx.MockTransport(answer)
    monkeypatch.setattr(promptatlas, "Client", partial(promptatlas.Client, transport=fake, environ={}))
    monkeypatch.setattr(promptatlas, "AsyncClient", partial(promptatlas.AsyncClient, transport=fake, environ={}))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)):
        exec(compile(block, f"docs/sdk.md, example {number}", "exec"), names)
    names["client"].close()
    shown = capsys.readouterr().out
    assert "(5, 3) (3, 3) [21 22 23] [0 1 2]" in shown
    assert "404 no req_9" in shown
    np.testing.assert_array_equal(names["generated"], activation_tensors()["resid_post.3"][[1, 4]])
    assert (tmp_path / "qa.zip").read_bytes() == b"file"
    assert "10 a 2.5\n10 b 1.25\n" in shown
    assert names["vectors"].shape == (2, 3)
    assert [line.get_label() for line in names["axes"].get_lines()] == ["a", "b"]
    assert (tmp_path / "results" / "draws" / "qa@1").read_bytes() == ROW
    np.testing.assert_array_equal(names["activations"], states())
    assert "2 2  beta [60. 61.]\n" in shown
    assert names["paths"].x.tolist() == [2, 3, 4]
    assert [trace.name for trace in names["figure"].data if trace.name] == ["questions", "tuned", "vectors"] * 2
    assert "1 confirmed Vectors stay\n5 not measured Tasks <part>\n" in shown
    assert names["separation"]["value"].tolist() == [0.25]
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == PAGE


def test_the_commands_exist() -> None:
    root = typer.main.get_command(create_app())
    block = TEXT.split("## The command line\n```\n")[1].split("```")[0]
    lines = [line.split() for line in block.strip().splitlines()]
    assert len(lines) >= 25
    for words in lines:
        command: Any = root
        for word in words[1:]:
            if hasattr(command, "commands"):
                command = command.commands[word]
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= options


def test_the_sweep_is_a_spec() -> None:
    pytest.importorskip("yaml")
    [text] = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    spec = TuneSpec.model_validate(parsed(text, "the sweep"))
    assert (spec.seeds, spec.optimizer.lr) == ([0, 1], [0.001, 0.01])
