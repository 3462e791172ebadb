from __future__ import annotations

import gc
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from service.store.locked_folders import scratch_folder, sweep_scratch_folders

OPEN_AND_WAIT = """
from service.store.locked_folders import scratch_folder
folder = scratch_folder()
(folder.path / "file").write_bytes(b"x")
print(folder.path, flush=True)
input()
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, also of child processes."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def open_in_a_child() -> tuple[subprocess.Popen[str], Path]:
    child = subprocess.Popen(
        [sys.executable, "-c", OPEN_AND_WAIT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    return child, Path(child.stdout.readline().strip())


def test_folders_of_killed_processes_are_swept_and_others_kept(temporary: Path) -> None:
    killed, stale = open_in_a_child()
    alive, used = open_in_a_child()
    (temporary / "promptatlas-harvest-abc").mkdir()
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert stale.is_dir()
    sweep_scratch_folders()
    assert {path for path in temporary.iterdir() if path.is_dir()} == {used, temporary / "promptatlas-harvest-abc"}
    alive.communicate("\n")
    assert not used.exists()


def test_a_new_folder_replaces_stale_ones_and_is_removed_at_its_end(temporary: Path) -> None:
    stale = temporary / "promptatlas-scratch-stale"
    stale.mkdir()
    with scratch_folder() as folder:
        assert folder.parent == temporary
        assert folder.stat().st_mode & 0o777 == 0o700
        assert not stale.exists()
    assert not folder.exists()
    forgotten = scratch_folder().path
    gc.collect()
    assert not forgotten.exists()
