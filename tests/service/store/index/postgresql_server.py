"""A PostgreSQL server for tests, if its programs are installed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_ROOT = 0


def programs() -> Path | None:
    """The folder of ``initdb`` and ``pg_ctl``; None if they are not installed, or could only run as root."""
    found = shutil.which("initdb")
    folders = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if not folders or (os.geteuid() == _ROOT and not _has_user()):
        return None
    return folders[0]


@contextmanager
def running_server(folder: Path, *, bin_folder: Path) -> Iterator[str]:
    """A server with its files in an empty folder, on a Unix socket there; yields its URL."""
    data, sockets = folder / "data", folder / "sockets"
    sockets.mkdir()
    # The server refuses to run as root.
    user = "postgres" if os.geteuid() == _ROOT else None
    if user is not None:
        for path in (folder, sockets):
            shutil.chown(path, user)

    def run(command: Sequence[str]) -> None:
        subprocess.run(command, check=True, capture_output=True, user=user, cwd=folder, timeout=60)

    run([str(bin_folder / "initdb"), "-D", str(data), "-A", "trust", "-U", "atlas", "-E", "UTF8", "--no-sync"])
    options = f"-c listen_addresses='' -c unix_socket_directories='{sockets}' -c fsync=off"
    control = [str(bin_folder / "pg_ctl"), "-D", str(data), "-w"]
    run([*control, "-l", str(folder / "log"), "-o", options, "start"])
    try:
        yield f"postgresql://atlas@/postgres?host={sockets}"
    finally:
        run([*control, "-m", "immediate", "stop"])


def _has_user() -> bool:
    return any(entry.pw_name == "postgres" for entry in pwd.getpwall())
