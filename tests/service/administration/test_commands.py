"""The commands as scripts call them: output, exit statuses, and stores on disks and in S3."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from service.__main__ import command
from service.administration.commands import main
from service.store.files.remote_files import open_files
from tests.service.administration.full_store import FullStore, answers


@pytest.fixture
def environ(place: str, full: FullStore) -> dict[str, str]:
    full.fill()
    return {"PROMPTATLAS_HOME": place}


def test_all_commands_on_a_store_of_any_sort(
    environ: dict[str, str], full: FullStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fsck", "--json"], environ) == 0
    assert json.loads(capsys.readouterr().out)["problems"] == []
    assert main(["backup", str(tmp_path / "backup"), "--json"], environ) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["n_copied"] > 20
    assert first["problems"] == []
    assert main(["backup", str(tmp_path / "backup"), "--json"], environ) == 0
    assert json.loads(capsys.readouterr().out) == {
        "n_copied": 0,
        "n_bytes": 0,
        "n_unchanged": first["n_copied"],
        "n_removed": 0,
        "problems": [],
    }
    restored = {"PROMPTATLAS_HOME": str(tmp_path / "restored")}
    assert main(["restore", str(tmp_path / "backup")], restored) == 0
    assert main(["fsck"], restored) == 0
    assert answers(open_files(restored["PROMPTATLAS_HOME"])) == answers(full.files)
    assert main(["restore", str(tmp_path / "backup")], restored) == 2
    assert "not empty" in capsys.readouterr().err


def test_reindex_counts_what_the_index_lacks_once(
    local: FullStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    local.fill()
    environ = {"PROMPTATLAS_HOME": str(tmp_path / "home"), "PROMPTATLAS_CACHE": str(tmp_path / "cache")}
    assert main(["reindex", "--json"], environ) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["n_missing"] == first["n_entries"] > 3
    assert main(["reindex", "--json"], environ) == 0
    assert json.loads(capsys.readouterr().out) == {**first, "n_missing": 0}
    assert main(["reindex"], {**environ, "PROMPTATLAS_INDEX": "off"}) == 2
    assert "PROMPTATLAS_INDEX is 'off'" in capsys.readouterr().err


def test_an_index_that_cannot_be_opened_is_status_3(
    local: FullStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    local.fill()
    (tmp_path / "cache").write_text("a file")
    environ = {"PROMPTATLAS_HOME": str(tmp_path / "home"), "PROMPTATLAS_CACHE": str(tmp_path / "cache")}
    assert main(["reindex"], environ) == 3
    assert "The index failed" in capsys.readouterr().err


def test_a_dry_run_lists_exactly_what_a_real_run_removes(
    environ: dict[str, str], full: FullStore, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = {f"PROMPTATLAS_KEEP_{name}": "0KiB" for name in ("EVENTS", "CHECKPOINTS", "OUTPUTS", "HARVESTS", "MAPS")}
    environ = {**environ, **limits}
    before = {entry.key for entry in full.files.walk()}
    assert main(["gc", "--dry-run", "--json"], environ) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {entry.key for entry in full.files.walk()} == before
    assert main(["gc", "--json"], environ) == 0
    removed = json.loads(capsys.readouterr().out)
    assert (listed.pop("dry_run"), removed.pop("dry_run")) == (True, False)
    assert removed == listed
    assert {item["run"] for item in listed["expired"]} >= {full.tuned, full.harvested, full.mapped}
    assert listed["n_bytes"] == sum(item["n_bytes"] for item in listed["expired"] + listed["removed"])
    assert main(["gc", "--dry-run"], environ) == 0
    assert capsys.readouterr().out == "would remove 0 objects, 0 B\n"
    assert main(["fsck"], environ) == 0


def test_damage_gives_status_1_and_one_line_each(
    local: FullStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    local.fill()
    environ = {"PROMPTATLAS_HOME": str(tmp_path / "home")}
    local.files.put("prompts/qa/aliases/live.json", b"?")
    key = next(entry.key for entry in local.files.walk() if entry.key.startswith("prompts/other/versions/1/_"))
    local.files.put(key, b"?")
    assert main(["fsck"], environ) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("prompt other@1 is damaged: ")
    assert "upload the same content again" in lines[0]
    assert "alias qa@live is damaged" in lines[1]
    assert lines[2].endswith("2 problems, 2 left")
    assert main(["backup", str(tmp_path / "backup")], environ) == 1
    assert capsys.readouterr().out.count("not copied: ") == 2
    # What was quarantined is lost for requests: status 1 once more, then only the alias is left.
    assert main(["fsck", "--repair"], environ) == 1
    assert "moved to the quarantine, no longer found by requests; upload" in capsys.readouterr().out
    assert main(["fsck", "--json"], environ) == 1
    assert json.loads(capsys.readouterr().out)["n_open"] == 1


def test_hints_alone_are_cured_with_status_0(local: FullStore, tmp_path: Path) -> None:
    local.fill()
    environ = {"PROMPTATLAS_HOME": str(tmp_path / "home")}
    local.files.remove_folder("prompt-hashes")
    assert main(["fsck"], environ) == 1
    assert main(["fsck", "--repair"], environ) == 0
    assert main(["fsck"], environ) == 0


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["backup", "{home}/inside"], "apart from the store"),
        (["backup", "{home}"], "apart from the store"),
        (["restore", "{home}/.."], "apart from the store"),
        (["restore", "{home}-none"], "not a backup"),
        (["gc", "--grace-hours", "0.5"], "--grace-hours must be 1 or more; it is 0.5."),
        (["gc", "--grace-hours", "nan"], "--grace-hours must be 1 or more"),
    ],
)
def test_what_makes_no_sense_is_refused_with_status_2(
    local: FullStore, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], what: str
) -> None:
    local.fill()
    before = local.content()
    home = str(tmp_path / "home")
    assert main([text.format(home=home) for text in arguments], {"PROMPTATLAS_HOME": home}) == 2
    assert what in capsys.readouterr().err
    assert local.content() == before


def test_other_statuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    environ = {"PROMPTATLAS_HOME": str(tmp_path / "home")}
    assert main(["fsck"], {**environ, "PROMPTATLAS_PORT": "x"}) == 2
    with pytest.raises(SystemExit) as wrong:
        main(["unknown"], environ)
    assert wrong.value.code == 2
    (tmp_path / "file").write_text("a file, not a folder")
    assert main(["backup", str(tmp_path / "file" / "x")], environ) == 3
    assert "could not be" in capsys.readouterr().err
    assert main(["fsck"], {"PROMPTATLAS_HOME": "nothing://there"}) == 3
    parser = argparse.ArgumentParser(prog="python -m service")
    assert command(parser, arguments=["admin", "fsck"], environ=environ) == 0
    with pytest.raises(SystemExit) as unknown:
        command(argparse.ArgumentParser(), arguments=["serve"], environ=environ)
    assert unknown.value.code == 2
    assert "invalid choice: 'serve'" in capsys.readouterr().err


def test_a_backup_process_that_is_killed_can_be_run_again(local: FullStore, tmp_path: Path) -> None:
    local.fill()
    for seed in range(10, 60):
        local.prompts.create("many", prompt=local.soft(seed))
    environ: dict[str, Any] = {**os.environ, "PROMPTATLAS_HOME": str(tmp_path / "home")}
    target = tmp_path / "backup"
    arguments = [sys.executable, "-m", "service", "admin", "backup", str(target)]
    process = subprocess.Popen(arguments, env=environ)
    deadline = time.monotonic() + 60
    while not list(target.glob("prompts/*/versions/*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    killed = {"PROMPTATLAS_HOME": str(target)}
    assert main(["fsck"], killed) == 0
    assert main(["restore", str(target)], {"PROMPTATLAS_HOME": str(tmp_path / "partial")}) in (0, 1)
    assert main(["backup", str(target)], environ) == 0
    assert main(["fsck"], killed) == 0
    assert answers(open_files(str(target))) == answers(local.files)
