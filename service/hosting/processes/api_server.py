"""API process: uvicorn on a socket that the main process has bound; it drains before it stops."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI

from service.hosting.processes.process_setup import die_with_parent

_CUT_OFF_S = 1


class ApiServer(uvicorn.Server):
    """A uvicorn server that drains on SIGTERM.

    Args:
        config: of uvicorn.
        drain: makes ``/ready`` fail and refuses new requests.
        drain_s: how long the server answers at least after SIGTERM, so that load balancers see that ``/ready`` fails.
        grace_s: how long running requests may take to finish, at most.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        drain: Callable[[], None],
        drain_s: float,
        grace_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(config)
        self._drain = drain
        self._drain_s = drain_s
        self._grace_s = max(grace_s, drain_s)
        self._clock = clock
        self._stopped_at_s: float | None = None

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
        if self._stopped_at_s is not None:
            draining_s = self._clock() - self._stopped_at_s
            is_idle = not self.server_state.tasks and draining_s >= self._drain_s
            self.should_exit |= is_idle or draining_s >= self._grace_s
        return await super().on_tick(counter)


def serve(
    app: FastAPI,
    *,
    sock: socket.socket,
    drain: Callable[[], None],
    drain_s: float,
    grace_s: float,
    parent_pid: int,
) -> None:
    """Serve until SIGTERM; the body of the API process, which is forked from the main process."""
    die_with_parent(parent_pid)
    signal.set_wakeup_fd(-1)  # the wakeup descriptor belongs to the main process
    config = uvicorn.Config(
        app,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_CUT_OFF_S,
    )
    ApiServer(config, drain=drain, drain_s=drain_s, grace_s=grace_s).run(sockets=[sock])
