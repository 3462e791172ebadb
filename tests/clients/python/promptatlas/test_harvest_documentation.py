"""The examples in docs/harvest.md run as they stand, one after the other."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import promptatlas
import pytest

from tests.clients.python.promptatlas.fake_harvest import FakeHarvest

TEXT = (Path(__file__).parents[4] / "docs" / "harvest.md").read_text(encoding="utf-8")


def test_the_python_examples_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for wanted in ("torch", "pandas", "datasets"):
        pytest.importorskip(wanted)
    fake = httpx.MockTransport(FakeHarvest())
    monkeypatch.setattr(promptatlas, "Client", partial(promptatlas.Client, transport=fake, progress=False, environ={}))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(blocks) == 3
    for number, block in enumerate(blocks):
        exec(compile(block, f"docs/harvest.md, example {number}", "exec"), names)
    names["client"].close()
    shown = capsys.readouterr().out
    assert "(7, 3) ['a' 'a' 'a'] alpha beta\n" in shown
    assert "0 0 <s> (3,)\n" in shown
    assert "torch.Size([5, 3]) 3\n" in shown
    assert "{'resid_post.3': torch.Size([7, 3]), 'norm': torch.Size([7])}\n" in shown
    assert names["batch"].shape == (4096, 3)
    assert len(names["frame"]) == 7
