from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from promptatlas.cli.spec_files import read_spec, with_changes

YAML = """
model: demo
dataset: demo-qa
priors:
  - kind: isotropic
    std: 2e-2
  - {kind: gaussian, fit: {embeddings: vocabulary}}
optimizer: {lr: [1e-3, 1.5E-2], steps: 200}
early_stopping: null
"""
SPEC: dict[str, Any] = {
    "model": "demo",
    "dataset": "demo-qa",
    "priors": [{"kind": "isotropic", "std": 0.02}, {"kind": "gaussian", "fit": {"embeddings": "vocabulary"}}],
    "optimizer": {"lr": [0.001, 0.015], "steps": 200},
    "early_stopping": None,
}


def test_yaml(tmp_path: Path) -> None:
    pytest.importorskip("yaml")
    (tmp_path / "sweep.yaml").write_text(YAML)
    assert read_spec(str(tmp_path / "sweep.yaml")) == SPEC


def test_json_needs_no_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    for name in ("sweep.json", "sweep"):
        (tmp_path / name).write_text(' {"model": "demo", "é": 1}', encoding="utf-8")
        assert read_spec(str(tmp_path / name)) == {"model": "demo", "é": 1}
    (tmp_path / "sweep.yaml").write_text(YAML)
    with pytest.raises(
        ImportError, match=r"sweep\.yaml: expected PyYAML to be installed: pip install 'promptatlas\[yaml\]'"
    ):
        read_spec(str(tmp_path / "sweep.yaml"))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.json", "{", "a.json: expected JSON"),
        ("a.json", "[1]", "a.json: expected an object with the fields of the spec, got list"),
        ("a.yaml", "a: [", "a.yaml: expected YAML or JSON"),
        ("a.yaml", "", "got NoneType"),
        ("a.yaml", "!!python/object/apply:os.getpid []", "expected YAML or JSON"),
    ],
)
def test_invalid_specs(tmp_path: Path, name: str, text: str, said: str) -> None:
    pytest.importorskip("yaml")
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=said) as caught:
        read_spec(str(tmp_path / name))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "path", "value"),
    [
        ("dataset=rivers", ["dataset"], "rivers"),
        ("optimizer.lr=1e-3", ["optimizer", "lr"], 0.001),
        ("seeds=[0,1]", ["seeds"], [0, 1]),
        ("priors.0.std=0.5", ["priors", 0, "std"], 0.5),
        ("method.kind=deep", ["method", "kind"], "deep"),
        ("template.input=a=b", ["template", "input"], "a=b"),
        ("early_stopping=null", ["early_stopping"], None),
        ('name="7"', ["name"], "7"),
    ],
)
def test_changes(change: str, path: list[str | int], value: Any) -> None:
    found: Any = with_changes(SPEC, [change])
    for step in path:
        found = found[step]
    assert found == value
    assert SPEC["optimizer"] == {"lr": [0.001, 0.015], "steps": 200}


def test_later_changes_take_precedence() -> None:
    assert with_changes(SPEC, ["method.kind=soft", "method.n_virtual=4", "method.n_virtual=8"])["method"] == {
        "kind": "soft",
        "n_virtual": 8,
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("dataset", "expected path.to.field=value, got 'dataset'"),
        ("=3", "expected path.to.field=value"),
        ("a..b=3", "expected path.to.field=value"),
        ("priors.2.std=1", "expected an index from 0 to 1, got '2'"),
        ("priors.x=1", "expected an index from 0 to 1, got 'x'"),
        ("model.x=1", "expected an object or a list above 'x', got 'demo'"),
    ],
)
def test_invalid_changes(change: str, said: str) -> None:
    with pytest.raises(typer.BadParameter) as caught:
        with_changes(SPEC, [change])
    assert said in str(caught.value)
