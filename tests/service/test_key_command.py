from __future__ import annotations

import argparse
import json
from datetime import datetime, timezone
from pathlib import Path

import pytest

from service.__main__ import command
from service.api.keys.key_ring import KeyRing
from service.settings.api_keys import read_keys_file


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser(prog="promptatlas-server")
    return command(parser, arguments=["key", "create", *arguments], environ={})


def test_a_created_key_is_accepted_through_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    limits = ["--requests-per-minute", "3", "--tokens-per-minute", "5", "--max-rows", "7"]
    assert run("--name", "ann: ä", "--scope", "write", "--expires", "2999-01-31T00:00:00+01:00", *limits) == 0
    shown = capsys.readouterr()
    file = tmp_path / "keys.jsonl"
    file.write_text(shown.out)
    key = shown.err.splitlines()[-1]
    assert key.startswith("promptatlas_")
    assert key not in shown.out
    found = KeyRing(file=file).find(key)
    assert found is not None
    assert (found.name, found.scope, found.expires) == (
        "ann: ä",
        "write",
        datetime(2999, 1, 30, 23, tzinfo=timezone.utc),
    )
    assert (found.requests_per_minute, found.tokens_per_minute, found.max_rows) == (3, 5, 7)


def test_lines_can_be_appended_and_have_given_fields_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("--name", "ann", "--scope", "read")
    run("--name", "bob", "--scope", "read", "--days", "30")
    file = tmp_path / "keys.jsonl"
    file.write_text(capsys.readouterr().out)
    ann, bob = read_keys_file(file)
    assert json.loads(file.read_text().splitlines()[0]) == {"name": "ann", "scope": "read", "sha256": ann.sha256}
    assert ann.sha256 != bob.sha256
    assert bob.expires is not None
    assert 29 <= (bob.expires - datetime.now(timezone.utc)).days <= 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-rows", "0"], "--max-rows: Input should be greater than or equal to 1, got 0"),
        (["--expires", "2027-01-01T00:00:00"], "--expires: Input should have timezone info"),
        (["--days", "99999999"], "--days: expected a time before the year 10000"),
    ],
)
def test_wrong_arguments_are_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--name", "ann", "--scope", "read", *arguments) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert (shown.err.count("\n"), shown.out) == (1, "")
