"""The imitated disk, with which scenarios without root fill and protect the store of the service's processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.chaos.faulty_disk import ImitatedDisk
from tests.integration.running import ROOT

WRITE = """
import sys
from service.errors import StoreUnavailable
from service.store.files.files import LocalFiles
try:
    LocalFiles(sys.argv[1]).put("key", b"value")
    print("stored", LocalFiles(sys.argv[1]).read("key"))
except StoreUnavailable as error:
    print(type(error).__name__)
"""


def write(disk: ImitatedDisk, folder: Path) -> str:
    """Write a file with the store's driver in a process of its own; what came of it."""
    path = os.pathsep.join((disk.environ["PYTHONPATH"], str(ROOT), str(ROOT / "clients" / "python")))
    environ = {**os.environ, **disk.environ, "PYTHONPATH": path}
    command = [sys.executable, "-c", WRITE, str(folder)]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=True).stdout.strip()


def test_writes_below_the_folder_fail_as_on_a_full_or_protected_disk(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "disk", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    disk = ImitatedDisk(folder)
    assert write(disk, folder) == "stored b'value'"
    disk.fill()
    assert write(disk, folder) == "StoreFull"
    assert write(disk, elsewhere) == "stored b'value'"
    disk.clear()
    disk.protect()
    assert write(disk, folder) == "StoreReadOnly"
    disk.unprotect()
    assert write(disk, folder) == "stored b'value'"
    assert [path.name for path in folder.rglob("*") if path.is_file()] == ["key"]
