"""``promptatlas distill``."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from promptatlas.types import DistillSpec

from tests.clients.python.promptatlas.cli.conftest import Run
from tests.clients.python.promptatlas.fake_runs import ID, info
from tests.clients.python.promptatlas.fake_server import FakeServer, reply

SPEC: dict[str, Any] = {
    "model": "demo",
    "dataset": "demo-qa",
    "name": "student",
    "priors": [{"kind": "isotropic"}],
    "teacher": {"context": "Think. "},
}


def test_starting(run: Run, server: FakeServer, tmp_path: Path) -> None:
    file = tmp_path / "students.json"
    file.write_text(json.dumps(SPEC))
    server.will(reply(info(kind="distill"), status=202))
    changes = ["--set", "teacher.dataset=sums", "--set", "target.part=answer", "--set", "eval.sampling.n=4"]
    shown = run("distill", str(file), *changes, "--name", "second")
    assert shown.output == f"{ID} distill queued, 2 before it\n"
    teacher = {"context": "Think. ", "dataset": "sums"}
    changed = {**SPEC, "teacher": teacher, "target": {"part": "answer"}, "eval": {"sampling": {"n": 4}}}
    assert server.sent == {"kind": "distill", "spec": changed, "name": "second"}


def test_a_spec_without_a_teacher_is_refused(run: Run, server: FakeServer) -> None:
    shown = run("distill", "-", input=json.dumps({**SPEC, "teacher": None}))
    assert shown.exit_code == 1
    assert "teacher" in shown.stderr
    assert server.requests == []


def test_the_file_and_the_command_in_the_documentation(
    run: Run, server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("yaml")
    page = (Path(__file__).parents[6] / "docs" / "distillation.md").read_text(encoding="utf-8")
    [content] = re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("students.yaml").write_text(content, encoding="utf-8")
    [line] = re.findall(r"^promptatlas distill .*$", page, flags=re.MULTILINE)
    server.will(reply(info(kind="distill"), status=202))
    shown = run(*shlex.split(line.removesuffix(" --watch"))[1:])
    assert shown.exit_code == 0, shown.output
    DistillSpec.model_validate_json(json.dumps(server.sent["spec"]))
