"""``python -m service.queueing.redis_standby LOCK keep|fresh PROGRAM ARGUMENT…``: wait for a lock, then become the program.

The program keeps the lock for as long as it lives. ``fresh``: everything else in the lock's folder is removed first, but
for logs.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from pathlib import Path


def main(arguments: list[str]) -> None:
    """Does not return, unless the program cannot be started (OSError)."""
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
