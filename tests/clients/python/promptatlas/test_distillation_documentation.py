"""The example in docs/distillation.md runs as it stands, and the page describes every field, term and part."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import promptatlas
import pytest
from promptatlas.types import DistillSpec, DivergenceLoss, StatesLoss, Teacher, TuneSpec
from promptatlas.types.distillation import Removal

from tests.clients.python.promptatlas.fake_runs import ended
from tests.clients.python.promptatlas.fake_server import reply

TEXT = (Path(__file__).parents[4] / "docs" / "distillation.md").read_text(encoding="utf-8")
METRICS = {"test/numeric_match": 0.5, "test/n_generated": 12.5, "test/kl": 0.25}


def test_the_python_example_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    sent: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            sent.append(json.loads(request.read()))
            return reply(ended(kind="distill", metrics=METRICS), status=202)
        return reply(ended(kind="distill", metrics=METRICS))

    client = partial(promptatlas.Client, transport=httpx.MockTransport(answer), progress=False, environ={})
    monkeypatch.setattr(promptatlas, "Client", client)
    [block] = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    exec(compile(block, "docs/distillation.md", "exec"), {})
    assert "0.5 12.5 0.25\n" in capsys.readouterr().out
    DistillSpec.model_validate(sent[0]["spec"])


def test_every_field_is_described() -> None:
    named = set(re.findall(r'[`"]([a-z_]+)["`:]', TEXT))
    own = set(DistillSpec.model_fields) - set(TuneSpec.model_fields)
    removal = {field.alias or name for name, field in Removal.model_fields.items()}
    fields = own | set(Teacher.model_fields) | set(DivergenceLoss.model_fields) | set(StatesLoss.model_fields) | removal
    assert fields - named <= {"site", "beta"}
