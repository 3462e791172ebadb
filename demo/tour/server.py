"""A service for the duration of a block: a child process on a free loopback port, stopped at the end."""

import contextlib
import functools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from promptatlas import Client, ConnectionFailedError

from service.hosting.processes.process_setup import die_with_parent

READY_WITHIN_S: Final = 120.0
STOPPED_WITHIN_S: Final = 20.0
POLL_S: Final = 0.1


class ServiceDidNotStart(RuntimeError):
    """The service ended or was not ready in time. The message has the last lines of its log."""


@contextlib.contextmanager
def running_service(environ: Mapping[str, str], *, log: Path, ready_within_s: float = READY_WITHIN_S) -> Iterator[str]:
    """Start `python -m service`, wait until it is ready, and stop it when the block ends.

    Args:
        environ: `PROMPTATLAS_*` settings except the address; other such settings of this process are removed.
        log: file for the service's log.
        ready_within_s: time limit for loading the models.

    Yields:
        Its URL.

    Raises:
        ServiceDidNotStart: the service ended or was not ready in time.
    """
    port = _free_port()
    child = _start({**_without_settings(), **environ, "PROMPTATLAS_PORT": str(port)}, log=log)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_ready(url, child=child, log=log, within_s=ready_within_s)
        yield url
    finally:
        _stop(child)


def _start(environ: Mapping[str, str], *, log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as sink:
        return subprocess.Popen(
            [sys.executable, "-m", "service"],
            cwd=Path(__file__).resolve().parents[2],
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            # In a new session Ctrl-C reaches only this process, which then stops the service in order.
            start_new_session=True,
            # If this process is killed, the service and its children end as well.
            preexec_fn=functools.partial(die_with_parent, os.getpid()),
        )


def _without_settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PROMPTATLAS_")}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(url: str, *, child: subprocess.Popen[bytes], log: Path, within_s: float) -> None:
    give_up_s = time.monotonic() + within_s
    with Client(url) as client:
        while time.monotonic() < give_up_s:
            if child.poll() is not None:
                raise ServiceDidNotStart(f"the service ended with status {child.returncode}:\n{_last_lines(log)}")
            with contextlib.suppress(ConnectionFailedError):
                if client.ready().status == "ready":
                    return
            time.sleep(POLL_S)
    raise ServiceDidNotStart(f"the service was not ready within {within_s:.0f} s:\n{_last_lines(log)}")


def _last_lines(log: Path, n: int = 8) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-n:])


def _stop(child: subprocess.Popen[bytes]) -> None:
    # A second Ctrl-C must not interrupt the stopping of the service.
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        child.terminate()
        try:
            child.wait(STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
