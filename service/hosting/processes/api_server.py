"""API process: uvicorn on a socket that the main process has bound; it drains before it stops."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from service.hosting.processes.connections import ConnectionWatch, WatchedConnection, raise_file_limit
from service.hosting.processes.process_setup import die_with_parent
from service.settings import Settings

_CUT_OFF_S = 1


class ApiServer(uvicorn.Server):
    """A uvicorn server that drains on SIGTERM.

    Args:
        config: of uvicorn.
        drain: makes ``/ready`` fail.
        refuse: refuses new requests.
        drain_s: time between the two, in which load balancers see that ``/ready`` fails.
        grace_s: how long running requests may take to finish, at most.
        watch: closes connections that are stuck.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        drain: Callable[[], None],
        refuse: Callable[[], None],
        drain_s: float,
        grace_s: float,
        watch: ConnectionWatch,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(config)
        self._drain = drain
        self._refuse = refuse
        self._drain_s = drain_s
        self._grace_s = max(grace_s, drain_s)
        self._watch = watch
        self._clock = clock
        self._stopped_at_s: float | None = None
        self._is_refusing = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first SIGTERM drains, the second stops at once. SIGINT is ignored: the main process handles it."""
        if sig != signal.SIGTERM:
            return
        if self._stopped_at_s is None:
            self._stopped_at_s = self._clock()
            self._drain()
        else:
            self.should_exit = self.force_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn ten times a second."""
        self._watch.check(self.server_state.connections)
        if self._stopped_at_s is not None:
            draining_s = self._clock() - self._stopped_at_s
            if draining_s >= self._drain_s and not self._is_refusing:
                self._is_refusing = True
                self._refuse()
            is_idle = not self.server_state.tasks and self._is_refusing
            self.should_exit |= is_idle or draining_s >= self._grace_s
        return await super().on_tick(counter)


def serve(
    app: FastAPI,
    *,
    sock: socket.socket,
    settings: Settings,
    drain: Callable[[], None],
    refuse: Callable[[], None],
    parent_pid: int,
) -> None:
    """Serve until SIGTERM; the body of the API process, which is forked from the main process."""
    die_with_parent(parent_pid)
    signal.set_wakeup_fd(-1)  # the wakeup descriptor belongs to the main process
    config = uvicorn.Config(
        app,
        http=WatchedConnection,
        ws="none",  # no route has web sockets, and their connections would not be watched
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_CUT_OFF_S,
    )
    watch = ConnectionWatch(
        read_timeout_s=settings.read_timeout_s,
        write_timeout_s=settings.write_timeout_s,
        min_bytes_per_s=settings.min_bytes_per_s,
        max_connections=raise_file_limit(),
    )
    server = ApiServer(
        config, drain=drain, refuse=refuse, drain_s=settings.drain_s, grace_s=settings.grace_s, watch=watch
    )
    server.run(sockets=[sock])
