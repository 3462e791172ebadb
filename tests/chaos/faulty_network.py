"""A TCP proxy of the loopback that delays, drops or stalls connections, in front of an S3 server."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Literal, Protocol

from tests.integration.running import free_port

Mode = Literal["open", "slow", "dropped", "stalled"]
DELAY_S = 0.05
"""Of each block of data that passes a slow proxy."""


class Proxy:
    """Passes connections on to ``target``.

    mode: ``slow`` delays each block; ``dropped`` closes all connections and refuses new ones; ``stalled`` keeps them and passes
    nothing on until the mode changes.
    """

    def __init__(self, target: tuple[str, int]) -> None:
        self.mode: Mode = "open"
        self.n_faults = 0
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, name="proxy", daemon=True).start()

    @property
    def url(self) -> str:
        """Address of the proxy."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def set(self, mode: Mode) -> None:
        """Change the mode; with ``dropped`` all connections are closed."""
        self.mode = mode
        if mode == "dropped":
            with self._lock:
                for end in self._open:
                    with contextlib.suppress(OSError):
                        end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Stop."""
        self.set("dropped")
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                if self.mode == "dropped":
                    raise ConnectionRefusedError
                server = socket.create_connection(self._target, timeout=30)
            except OSError:
                self.n_faults += 1
                client.close()
                continue
            with self._lock:
                self._open |= {client, server}
            for source, target in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=(source, target), name="pass on", daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            source.settimeout(None)
            while data := source.recv(1 << 16):
                if self.mode in ("slow", "stalled"):
                    self.n_faults += 1
                    time.sleep(DELAY_S)
                while self.mode == "stalled":
                    time.sleep(0.05)
                if self.mode == "dropped":
                    self.n_faults += 1
                    break
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        with self._lock:
            self._open.discard(source)
        source.close()


class Bucket(Protocol):
    """An S3 bucket behind a proxy. home: URL of the store. environ: variables of the processes that use it."""

    home: str
    environ: dict[str, str]
    proxy: Proxy


class _MotoBucket:
    def __init__(self, proxy: Proxy, *, name: str) -> None:
        self.proxy = proxy
        self.home = f"s3://{name}/atlas"
        self.environ = {
            "AWS_ENDPOINT_URL": proxy.url,
            "AWS_ACCESS_KEY_ID": "chaos",
            "AWS_SECRET_ACCESS_KEY": "chaos",
            "AWS_DEFAULT_REGION": "us-east-1",
        }


@contextlib.contextmanager
def bucket(name: str) -> Iterator[Bucket]:
    """An S3 server with one empty bucket, and the proxy that leads to it."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else each request is printed
    port = free_port()
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    proxy = Proxy(("127.0.0.1", port))
    found = _MotoBucket(proxy, name=name)
    try:
        import fsspec

        os.environ.update(found.environ)
        fsspec.filesystem("s3", skip_instance_cache=True).mkdir(name)
        yield found
    finally:
        for variable in found.environ:
            os.environ.pop(variable, None)
        proxy.close()
        server.stop()
