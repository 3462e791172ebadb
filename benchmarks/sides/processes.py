"""Servers as child processes on loopback."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_START_S, _STOP_S, _POLL_S = 300.0, 60.0, 0.1


def free_port() -> int:
    """A free loopback port."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextlib.contextmanager
def running(
    module: str, arguments: Sequence[str], *, environ: Mapping[str, str], ready_url: str, log: Path
) -> Iterator[int]:
    """Run ``python -m module``; yields its process id once ``ready_url`` returns 200.

    Raises:
        RuntimeError: it ended, or was not ready in time; with the end of its log.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=ROOT,
            env={**os.environ, **environ},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        _await(ready_url, process=process, log=log)
        yield process.pid
    finally:
        _stop(process)


def process_behind(*, client_port: int, server_port: int) -> int:
    """Id of the server process of a loopback connection; Linux only.

    Raises:
        RuntimeError: no process of ours holds it.
    """
    inode = _inode(local_port=server_port, remote_port=client_port)
    for fd in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):  # it may be closed by now
            if os.readlink(fd) == f"socket:[{inode}]":
                return int(fd.parts[2])
    raise RuntimeError(f"expected a process behind port {server_port}, found none.")


def forget_peak(pid: int) -> None:
    """Reset the peak resident memory of a process."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def resident_bytes(pid: int) -> tuple[int, int]:
    """Current and peak resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}
    return 1024 * int(fields["VmRSS"][0]), 1024 * int(fields["VmHWM"][0])


def _inode(*, local_port: int, remote_port: int) -> str:
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        columns = line.split()
        ports = [int(columns[i].rpartition(":")[2], 16) for i in (1, 2)]
        if ports == [local_port, remote_port]:
            return columns[9]
    raise RuntimeError(f"expected a connection from port {remote_port} to {local_port}, found none.")


def _await(url: str, *, process: subprocess.Popen[bytes], log: Path) -> None:
    give_up_s = time.monotonic() + _START_S
    while time.monotonic() < give_up_s:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with status {process.returncode}:\n{_tail(log)}")
        with contextlib.suppress(OSError, urllib.error.URLError), urllib.request.urlopen(url, timeout=5) as answer:
            if answer.status == 200:
                return
        time.sleep(_POLL_S)
    raise RuntimeError(f"the server was not ready within {_START_S:.0f} s:\n{_tail(log)}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]
