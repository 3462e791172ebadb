"""The example in docs/traces.md runs as it stands, and the page describes every field."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import promptatlas
import pytest
from promptatlas.types import GenerateSpec

from tests.clients.python.promptatlas.fake_runs import ended
from tests.clients.python.promptatlas.fake_server import reply

TEXT = (Path(__file__).parents[4] / "docs" / "traces.md").read_text(encoding="utf-8")
MANIFEST = {
    "name": "sums",
    "format": "jsonl",
    "sha256": "sha256:" + "0" * 64,
    "n_records": 171,
    "n_bytes": 1,
    "splits": {"train": 171},
}


def test_the_python_example_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    sent: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            sent.append(json.loads(request.read()))
            return reply(ended(kind="generate", metrics={"made": 256, "kept": 171}), status=202)
        if request.url.path.startswith("/v1/datasets/"):
            return reply({**MANIFEST, "object": "list", "data": [], "has_more": False})
        return reply(ended(kind="generate", metrics={"made": 256, "kept": 171}))

    transport = httpx.MockTransport(answer)
    client = partial(promptatlas.Client, transport=transport, progress=False, environ={})
    monkeypatch.setattr(promptatlas, "Client", client)
    [block] = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    exec(compile(block, "docs/traces.md", "exec"), {})
    assert "256 171 171\n" in capsys.readouterr().out
    GenerateSpec.model_validate(sent[0]["spec"])


def test_every_field_of_the_spec_is_described() -> None:
    table = TEXT.split("## Spec")[1].split("**Context.**")[0]
    penalties = {"repetition_penalty", "presence_penalty", "frequency_penalty"}
    named = set(re.findall(r"`([a-z_]+)`", table))
    assert set(GenerateSpec.model_fields) - penalties <= named
