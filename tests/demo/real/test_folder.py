"""Which folder is used, and the one sentence about missing files."""

from __future__ import annotations

from pathlib import Path

import pytest

from demo.real import folder
from demo.real.arithmetic import arithmetic_files
from demo.real.folder import BadData, MissingData, default_folder, read_text, require
from demo.real.squad import squad_files
from demo.real.wikitext import FILE
from tests.demo.real.real_files import write, write_maths, write_squad


def test_the_variable_comes_first_then_the_shared_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "_SHARED", tmp_path)
    assert default_folder({"PROMPTATLAS_DATA": "/some/where"}) == Path("/some/where")
    assert default_folder({}) == tmp_path
    monkeypatch.setattr(folder, "_SHARED", tmp_path / "absent")
    assert default_folder({"PROMPTATLAS_DATA": ""}) == Path(folder.__file__).parents[2] / "data"


def test_all_missing_files_are_named_in_one_sentence(tmp_path: Path) -> None:
    write_maths(tmp_path)
    files = [*arithmetic_files(), *squad_files(), FILE]
    with pytest.raises(MissingData) as caught:
        require(tmp_path, files=files)
    message = str(caught.value)
    assert "\n" not in message
    assert "squad-en.json (SQuAD 1.1" in message
    assert "wikitext-2/valid.txt" in message
    assert "deepmind-math" not in message
    assert str(tmp_path) in message
    assert "--data" in message


def test_nothing_is_missing_in_a_full_folder(tmp_path: Path) -> None:
    write_maths(tmp_path)
    write_squad(tmp_path)
    require(tmp_path, files=[*arithmetic_files(), *squad_files()])


def test_text_is_utf_8(tmp_path: Path) -> None:
    write(tmp_path, FILE.path, "x").write_bytes(b"abc\xff")
    with pytest.raises(BadData, match=r"valid\.txt: expected UTF-8, got the byte 0xff at 3"):
        read_text(tmp_path, file=FILE)
