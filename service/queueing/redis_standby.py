"""``python -m service.queueing.redis_standby LOCK keep|fresh PROGRAM ARGUMENT…``: wait for a lock, then exec the program.

The program holds the lock until it ends. ``fresh``: all other files in the lock's folder except logs are removed first.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from pathlib import Path


def main(arguments: list[str]) -> None:
    """Exec the program; returns only by OSError, if the program cannot be started."""
    lock, keep, program, *rest = arguments
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    if keep == "fresh":
        _empty(Path(lock).parent, spare=Path(lock).name)
    os.set_inheritable(descriptor, True)
    os.execv(program, [program, *rest])


def _empty(folder: Path, *, spare: str) -> None:
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        elif entry.name != spare and entry.suffix != ".log":
            entry.unlink(missing_ok=True)


if __name__ == "__main__":
    main(sys.argv[1:])
