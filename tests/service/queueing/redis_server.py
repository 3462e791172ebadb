"""A Redis server for tests."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from service.queueing.connections import connect
from service.queueing.embedded_redis import find_server
from tests.integration.running import wait_until


class RedisServer:
    """A Redis on a Unix socket that can be killed and started again over the same files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # pytest's own folders are too deep for a socket.
        self._sockets = tempfile.TemporaryDirectory(prefix="atlas-")
        self.url = f"unix://{self._sockets.name}/redis.sock"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def client(self) -> Redis:
        return connect(self.url)

    def start(self) -> None:
        server = find_server()
        assert server is not None
        options = ["--port", "0", "--unixsocket", self.url.removeprefix("unix://"), "--dir", str(self._folder)]
        durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        self._process = subprocess.Popen([server, *options, *durable], stdout=subprocess.DEVNULL)
        wait_until(self._answers)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self.kill()
        self._sockets.cleanup()

    def _answers(self) -> bool:
        with contextlib.suppress(RedisError):
            return bool(self.client.ping())
        return False
