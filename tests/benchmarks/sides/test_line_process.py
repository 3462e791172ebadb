"""Programs that answer lines."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks.sides.line_process import LineProcess, version_in

SCRIPT = """
import json, sys
for line in sys.stdin:
    question = json.loads(line)
    if question["n"] < 0:
        sys.exit(3)
    print(json.dumps([sys.argv[1]] * question["n"]), flush=True)
"""


def test_questions_are_answered_one_after_the_other(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with LineProcess.start(Path(sys.executable), script, ["a"]) as process:
        assert process.ask(n=2) == ["a", "a"]
        assert process.ask(n=0) == []


def test_the_end_of_the_program_is_an_error(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    with LineProcess.start(Path(sys.executable), script, ["a"]) as process:
        with pytest.raises(RuntimeError, match="ended with status 3"):
            process.ask(n=-1)
        with pytest.raises(RuntimeError, match="ended with status 3"):
            process.ask(n=1)


def test_versions_are_those_of_the_environment(tmp_path: Path) -> None:
    info = tmp_path / "lib" / "python3.11" / "site-packages" / "some_thing-4.5.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-thing\nVersion: 4.5\n")
    assert version_in(tmp_path, "some-thing") == "4.5"
    with pytest.raises(RuntimeError, match="expected other in"):
        version_in(tmp_path, "other")
