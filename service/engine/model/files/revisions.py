"""Revisions: sha256 over the weight files of a model.

Hashing reads every byte of the weights. A revision is therefore kept on this host, with the path, size, inode and times of
each file, and is computed again when one of these differs.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path

WEIGHT_ENDINGS = (".safetensors", ".bin")
SETTLED_AFTER_S = 2.0
"""Age of a file from which its times are trusted: a change within one tick of the file system's clock keeps them."""

_READ_BYTES = 4 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")

Signature = list[list[str | int]]
"""Of each file: path, size, inode, time of modification and of the last change of its inode (ns)."""


class Revisions:
    """Computes revisions of models, and remembers them in a folder.

    Args:
        folder: a cache of this host; may be missing, and may be deleted at any time. None: nothing is remembered.
        clock: seconds since 1970.
    """

    def __init__(self, folder: Path | None, *, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._clock = clock

    def of_folder(self, folder: Path) -> str:
        """sha256 of the weight files: each file's name and content, in the order of the names.

        Raises:
            OSError: a file cannot be read.
        """
        files = sorted(file for file in folder.iterdir() if file.suffix in WEIGHT_ENDINGS)
        return self._remembered(files, lambda: _sha256(files, with_names=True))

    def of_file(self, file: Path) -> str:
        """sha256 of the content of one file, as ``sha256sum`` prints it; raises OSError if it cannot be read."""
        return self._remembered([file], lambda: _sha256([file], with_names=False))

    def _remembered(self, files: Sequence[Path], compute: Callable[[], str]) -> str:
        before, now = _signature(files), self._clock()
        if self._folder is None or not files:
            return compute()
        entry = self._folder / f"{_key(before)}.json"
        if (known := _read(entry, before)) is not None:
            return known
        revision = compute()
        if _signature(files) == before and _is_settled(before, now=now):
            _write(entry, {"files": before, "revision": revision})
        return revision


def _signature(files: Sequence[Path]) -> Signature:
    found: Signature = []
    for file in files:
        status = file.stat()
        path = str(file.absolute())
        found.append([path, status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns])
    return found


def _key(signature: Signature) -> str:
    """Name of the entry: of the paths only, so that a changed file replaces its entry."""
    return hashlib.sha256("\0".join(str(path) for path, *_ in signature).encode()).hexdigest()


def _is_settled(signature: Signature, *, now: float) -> bool:
    newest = max(int(moment) for _, _, _, *moments in signature for moment in moments)
    return newest / 1e9 <= now - SETTLED_AFTER_S


def _read(entry: Path, signature: Signature) -> str | None:
    try:
        found = json.loads(entry.read_text("utf-8"))
        revision = found["revision"] if found["files"] == signature else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return revision if isinstance(revision, str) and _SHA256.fullmatch(revision) else None


def _write(entry: Path, content: object) -> None:
    # A cache that cannot be written costs time at the next start, and is no reason not to start.
    temporary = entry.with_name(f".{entry.name}-{secrets.token_hex(8)}")
    with contextlib.suppress(OSError):
        try:
            entry.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(content), "utf-8")
            os.replace(temporary, entry)
        finally:
            temporary.unlink(missing_ok=True)


def _sha256(files: Sequence[Path], *, with_names: bool) -> str:
    digest = hashlib.sha256()
    for file in files:
        if with_names:
            digest.update(file.name.encode() + b"\0")
        with file.open("rb") as stream:
            while block := stream.read(_READ_BYTES):
                digest.update(block)
    return digest.hexdigest()
