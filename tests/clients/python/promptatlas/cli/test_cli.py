from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer
from promptatlas.cli import create_app

from tests.clients.python.promptatlas.cli.conftest import Run
from tests.clients.python.promptatlas.fake_runs import TUNE_SPEC
from tests.clients.python.promptatlas.fake_server import (
    METADATA,
    STREAMED,
    FakeServer,
    activation_tensors,
    events,
    problem,
    reply,
    tensor_bytes,
    tensors_reply,
)
from tests.clients.python.promptatlas.resources.test_completions import COMPLETION
from tests.clients.python.promptatlas.resources.test_prompts import MANIFEST, ROWS, page
from tests.clients.python.promptatlas.resources.test_system import CARD, ENTRIES, PARTS
from tests.clients.python.promptatlas.results.tensors.test_trajectories import result as trajectory_bytes

COMMANDS = [
    ["models", "list"],
    ["models", "show"],
    ["prompts", "list"],
    ["prompts", "show"],
    ["prompts", "upload"],
    ["prompts", "download"],
    ["prompts", "delete"],
    ["prompts", "alias"],
    ["complete"],
    ["activations"],
    ["trajectories"],
    ["health"],
    ["datasets", "list"],
    ["datasets", "upload"],
    ["datasets", "load"],
    ["datasets", "peek"],
    ["datasets", "delete"],
    ["priors", "sample"],
    ["runs", "list"],
    ["runs", "get"],
    ["runs", "watch"],
    ["runs", "cancel"],
    ["runs", "resume"],
    ["runs", "events"],
    ["runs", "artifacts"],
    ["runs", "download"],
    ["tune"],
    ["distill"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_shows_examples_and_takes_the_common_options(run: Run, command: list[str]) -> None:
    shown = run(*command, "--help", env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert shown.exit_code == 0
    assert f"promptatlas {' '.join(command)}" in shown.output.partition("Examples:")[2]
    for option in ("--json", "--url", "--api-key"):
        assert option in shown.output


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_the_examples_can_be_parsed(
    run: Run, server: FakeServer, command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("qa.safetensors", "rivers.jsonl", "train-v2.0.json", "prose.txt"):
        Path(name).write_bytes(b"content")
    for name in ("sweep.yaml", "sweep.json"):
        Path(name).write_text(json.dumps(TUNE_SPEC))
    for name in ("students.yaml", "students.json"):
        Path(name).write_text(json.dumps({**TUNE_SPEC, "teacher": {"context": "Think. "}}))
    Path("adapter").mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (Path("adapter") / name).write_text("{}")
    server.will(problem(404, "nothing here"))
    found: Any = typer.main.get_command(create_app())
    for word in command:
        found = found.commands[word]
    examples = [shlex.split(line)[1:] for line in found.epilog.splitlines()[1:] if line]
    assert examples
    for arguments in examples:
        shown = run(*arguments)
        assert (shown.exit_code, shown.stderr) == (1, "error: 404 Problem: nothing here (request req_9)\n")


def test_models(run: Run, server: FakeServer) -> None:
    server.will(reply({"object": "list", "data": ENTRIES}))
    shown = run("models", "list", "--url", "http://there:1", "--api-key", "k")
    assert shown.exit_code == 0
    assert [line.split() for line in shown.output.splitlines()] == [
        ["id", "root", "parent"],
        ["demo", "demo"],
        ["demo:qa", "demo", "demo"],
    ]
    assert str(server.request.url) == "http://there:1/v1/models"
    assert server.request.headers["authorization"] == "Bearer k"
    assert [row["id"] for row in json.loads(run("models", "list", "--json").output)] == ["demo", "demo:qa"]


def test_a_model(run: Run, server: FakeServer) -> None:
    server.will(reply(CARD))
    assert ["d_model", "192"] in [line.split() for line in run("models", "show", "demo").output.splitlines()]
    assert json.loads(run("models", "show", "demo", "--json").output)["d_model"] == 192


def test_prompts(run: Run, server: FakeServer) -> None:
    server.will(page(*ROWS))
    lines = run("prompts", "list").output.splitlines()
    assert lines[1].split() == ["arithmetic", "2", "2,", "1", "soft", "demo", "best→1"]
    assert len(json.loads(run("prompts", "list", "--json").output)) == 3
    server.will(reply(MANIFEST))
    assert "test/f1" in run("prompts", "show", "qa@3").output
    assert server.request.url.path == "/v1/prompts/qa/versions/3"
    assert json.loads(run("prompts", "show", "qa@3", "--json").output)["version"] == 3


def test_uploading(run: Run, server: FakeServer, tmp_path: Path) -> None:
    server.will(reply(MANIFEST, status=201))
    file = tmp_path / "qa.safetensors"
    file.write_bytes(b"content")
    assert run("prompts", "upload", "qa", str(file)).output.startswith("qa@3 soft for demo, sha256:")
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (tmp_path / name).write_text("{}")
    assert json.loads(run("prompts", "upload", "qa", str(tmp_path), "--base", "demo", "--json").output)["name"] == "qa"
    assert server.request.headers["content-type"] == "application/zip"
    assert server.request.url.params["base"] == "demo"
    server.will(reply(MANIFEST))
    run("prompts", "upload", "qa", str(tmp_path), "--task", "2")
    assert server.request.url.params["task"] == "2"


def test_downloading(run: Run, server: FakeServer, tmp_path: Path) -> None:
    server.will(httpx.Response(200, content=b"zip!"))
    to = tmp_path / "qa.zip"
    shown = run("prompts", "download", "qa@3", "--format", "peft", "--to", str(to), "--json")
    assert json.loads(shown.output) == {"path": str(to), "bytes": 4}
    assert server.request.url.params["format"] == "peft"
    server.will(httpx.Response(200, content=b"zip!"))
    run("prompts", "download", "qa@3", "--format", "peft", "--peft-type", "CPT", "--to", str(to))
    assert server.request.url.params["peft_type"] == "CPT"
    for form in ("prompt_embeds", "kv"):
        server.will(httpx.Response(200, content=b"tensors"))
        run("prompts", "download", "qa@3", "--format", form, "--to", str(to))
        assert server.request.url.params["format"] == form
        assert server.request.headers["accept"] == "application/vnd.safetensors"
    refused = run("prompts", "download", "qa@3", "--format", "pickle", "--to", str(to))
    assert refused.exit_code == 2


def test_deleting_asks_first(run: Run, server: FakeServer) -> None:
    server.will(httpx.Response(204))
    assert run("prompts", "delete", "qa@3", input="n\n").exit_code == 1
    assert server.requests == []
    assert run("prompts", "delete", "qa@3", input="y\n").exit_code == 0
    assert "deleted qa@3" in run("prompts", "delete", "qa@3", "--yes").output
    assert len(server.requests) == 2


def test_aliases(run: Run, server: FakeServer) -> None:
    server.will(reply({"name": "qa", "alias": "best", "version": 3}))
    assert run("prompts", "alias", "qa", "best", "3").output == "qa@best → qa@3\n"


def test_completing(run: Run, server: FakeServer) -> None:
    server.will(reply(COMPLETION))
    shown = run("complete", "demo", "Ana is in the", "-t", "0", "--max-tokens", "3", "--stop", ".", "-p", "qa@2")
    assert shown.output == " kitchen\n"
    assert server.sent == {
        "model": "demo",
        "prompt": "Ana is in the",
        "temperature": 0.0,
        "max_tokens": 3,
        "stop": ["."],
        "prompt_ref": "qa@2",
    }
    assert json.loads(run("complete", "demo", "x", "--json").output)["choices"][0]["text"] == " kitchen"


def test_completing_standard_input_under_a_mix(run: Run, server: FakeServer) -> None:
    server.will(reply(COMPLETION))
    run("complete", "demo", "-", "--mix", "a@1=0.3", "--mix", "b@best=-0.7", input="from a pipe")
    assert server.sent["prompt"] == "from a pipe"
    assert server.sent["prompt_ref"] == {"mix": [{"ref": "a@1", "weight": 0.3}, {"ref": "b@best", "weight": -0.7}]}


def test_completing_under_prompts_one_after_the_other(run: Run, server: FakeServer) -> None:
    server.will(reply(COMPLETION))
    run("complete", "demo", "x", "--concat", "a@1", "--concat", "b@best")
    assert server.sent["prompt_ref"] == {"concat": ["a@1", "b@best"]}


def test_streaming(run: Run, server: FakeServer) -> None:
    chunk = {"id": "c", "created": 1, "model": "demo", "choices": [{"index": 0, "text": "ab"}]}
    server.will(httpx.Response(200, content=events(chunk, chunk), headers=STREAMED))
    assert run("complete", "demo", "x", "--stream").output == "abab\n"
    assert run("complete", "demo", "x", "--stream", "--json").exit_code == 2


def test_activations(run: Run, server: FakeServer, tmp_path: Path) -> None:
    server.will(tensors_reply(tensor_bytes(activation_tensors())))
    to = tmp_path / "states.safetensors"
    arguments = ["activations", "demo", "Ana", "Ben", "-s", "resid_post", "-s", "embed", "-l", "2,-1", "-o", str(to)]
    shown = run(*arguments, "--positions", "0,-1", "--reduce", "norm", "--dtype", "float16", "-p", "qa")
    assert shown.exit_code == 0, shown.output
    assert ["resid_post.3", "[5,", "3]"] in [line.split() for line in shown.output.splitlines()]
    assert to.stat().st_size > 0
    assert server.sent == {
        "model": "demo",
        "inputs": ["Ana", "Ben"],
        "sites": ["resid_post", "embed"],
        "layers": [2, -1],
        "positions": [0, -1],
        "include_virtual": False,
        "reduce": "norm",
        "dtype": "float16",
        "prompt_ref": "qa",
    }
    body = json.loads(run(*arguments, "--positions", "1:", "--reduce", "project:m", "--json").output)
    assert body["tensors"]["embed"] == [5, 3]
    assert body["metadata"]["revision"] == METADATA["revision"]
    assert server.sent["positions"] == {"start": 1, "stop": None}
    assert server.sent["reduce"] == {"project": "m"}


def test_estimates_run_nothing(run: Run, server: FakeServer, tmp_path: Path) -> None:
    server.will(reply({"n_tokens": 4, "bytes": 1024, "seconds": 0.25}))
    to = tmp_path / "none"
    shown = run("activations", "demo", "Ana", "-s", "embed", "--estimate", "--json", "-o", str(to))
    assert json.loads(shown.output)["bytes"] == 1024
    assert not to.exists()


def test_trajectories(run: Run, server: FakeServer, tmp_path: Path) -> None:
    server.will(tensors_reply(trajectory_bytes()))
    arguments = ["trajectories", "demo", "Ana", "-s", "resid_post", "-n", "2", "--no-include-input", "--seed", "4"]
    shown = run(*arguments, "-o", str(tmp_path / "walks"))
    assert shown.exit_code == 0, shown.output
    assert shown.output.splitlines()[1].split() == ["0", "1", "2", "stop", "kitchen."]
    assert server.sent["include_input"] is False
    assert (server.sent["n"], server.sent["seed"]) == (2, 4)
    body = json.loads(run(*arguments, "-o", str(tmp_path / "walks"), "--json").output)
    assert body["metadata"]["inputs"][1]["text"] == " garden"


def test_health(run: Run, server: FakeServer) -> None:
    server.will(reply({"status": "ok"}), reply({"status": "ready", **PARTS, "engine": {"status": "ok"}}))
    shown = run("health")
    assert shown.exit_code == 0
    assert ["engine", "ok"] in [line.split() for line in shown.output.splitlines()]
    server.will(reply({"status": "ok"}), reply({"status": "not_ready", **PARTS}, status=503))
    shown = run("health", "--json")
    assert shown.exit_code == 1
    assert json.loads(shown.output)["engine"]["detail"] == "loading demo"


def test_problems_are_one_line_and_exit_code_1(run: Run, server: FakeServer, tmp_path: Path) -> None:
    server.will(problem(404, "no model 'x'"))
    shown = run("models", "show", "x")
    assert shown.exit_code == 1
    assert shown.stderr == "error: 404 Problem: no model 'x' (request req_9)\n"
    assert shown.stdout == ""
    shown = run("prompts", "upload", "qa", str(tmp_path / "none.safetensors"))
    assert (shown.exit_code, shown.stderr.count("\n")) == (1, 1)
    shown = run("models", "list", "--url", "nowhere")
    assert (shown.exit_code, shown.stderr.count("\n")) == (1, 1)


@pytest.mark.parametrize(
    "arguments",
    [
        ["-l", "two"],
        ["--positions", "1:2:3"],
        ["--positions", "some"],
        ["--reduce", "max"],
        ["--mix", "a"],
        ["--mix", "a@1=1", "-p", "b"],
        ["--concat", "a", "--concat", "b", "-p", "c"],
        ["--dtype", "int8"],
    ],
)
def test_invalid_options(run: Run, server: FakeServer, arguments: list[str]) -> None:
    assert run("activations", "demo", "x", "-s", "embed", *arguments).exit_code == 2
    assert server.requests == []


def test_the_version(run: Run) -> None:
    assert run("--version").output.strip()[0].isdigit()
