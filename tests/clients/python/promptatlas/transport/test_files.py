from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from promptatlas.transport.files import bar_for, no_bar, rich_bar, sink


def test_a_named_file_appears_complete(tmp_path: Path) -> None:
    to = tmp_path / "out.bin"
    with sink(to) as (file, path):
        file.write(b"abc")
        assert not to.exists()
    assert path == to
    assert to.read_bytes() == b"abc"
    assert list(tmp_path.iterdir()) == [to]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    to = tmp_path / "out.bin"
    to.write_bytes(b"old")

    def write_half() -> None:
        with sink(to) as (file, _):
            file.write(b"half")
            raise httpx.ReadError("cut")

    with pytest.raises(httpx.ReadError):
        write_half()
    assert to.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [to]


def test_a_temporary_file_is_deleted_after_a_failure() -> None:
    paths: list[Path] = []

    def write_nothing() -> None:
        with sink(None) as (_, path):
            assert path.exists()
            paths.append(path)
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        write_nothing()
    assert not paths[0].exists()


def test_the_bar_is_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    assert bar_for(True) is rich_bar
    assert bar_for(False) is no_bar
    monkeypatch.setattr("sys.stderr.isatty", lambda: False, raising=False)
    assert bar_for(None) is no_bar
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert bar_for(None) is rich_bar


@pytest.mark.parametrize("n_bytes", [10, None])
def test_the_bar_counts(n_bytes: int | None, capsys: pytest.CaptureFixture[str]) -> None:
    with rich_bar(n_bytes) as show:
        show(10)
    assert capsys.readouterr().out == ""
