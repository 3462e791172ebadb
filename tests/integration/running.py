"""A real service in processes of its own, and a look at them through /proc."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 120.0


@dataclass
class Service:
    """A started service. log: what its processes wrote."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def engine_pid(self) -> int:
        return self._child("multiprocessing.spawn")

    @property
    def api_pid(self) -> int:
        return next(pid for pid in children_of(self.pid) if command_of(pid)[1:3] == ["-m", "service"])

    @property
    def results(self) -> list[Path]:
        """Result files that lie in the service's folder."""
        links = (os.readlink(link) for link in Path(f"/proc/{self.api_pid}/fd").iterdir() if link.is_symlink())
        folder = next(Path(target).parent for target in links if target.endswith("/lock"))
        return list(folder.glob("results-*/*"))

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and wait for the end; the exit status."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE_S)

    def wait_until_ready(self) -> None:
        """Until requests that run the model are taken."""

        def ready() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            with contextlib.suppress(httpx.TransportError):
                return get(f"{self.url}/ready").status_code == 200
            return False

        wait_until(ready, why=lambda: self.log.read_text())

    def gauge(self, name: str, *, headers: Mapping[str, str] | None = None) -> float:
        """A number of the engine, from /metrics."""
        text = get(f"{self.url}/metrics", headers=headers).text
        return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"{name}{{"))

    def _child(self, word: str) -> int:
        return next(pid for pid in children_of(self.pid) if word in " ".join(command_of(pid)[1:]))


@contextlib.contextmanager
def running_service(folder: Path, *, models: str, python_path: str | None = None, **settings: str) -> Iterator[Service]:
    """Start ``python -m service`` on a free port, with its store under ``folder``; kill it at the end if need be.

    ``python_path``: in place of the path to this repository.
    """
    port = free_port()
    log = folder / "service.log"
    with log.open("wb") as output:
        environ = environment(folder, PORT=str(port), MODELS=models, **settings)
        environ["PYTHONPATH"] = python_path or environ["PYTHONPATH"]
        process = subprocess.Popen([sys.executable, "-m", "service"], env=environ, cwd=folder, stderr=output)
    service = Service(process, f"http://127.0.0.1:{port}", log)
    try:
        yield service
    finally:
        if process.poll() is None:
            family = [process.pid, *children_of(process.pid)]
            process.kill()
            process.wait()
            wait_until(lambda: not any(is_alive(pid) for pid in family))


def environment(folder: Path, **settings: str) -> dict[str, str]:
    """The environment of a service: nothing of ours but what it must have."""
    ours = {f"PROMPTATLAS_{name}": value for name, value in settings.items()}
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PROMPTATLAS_")}
    paths = os.pathsep.join((str(ROOT), str(ROOT / "clients" / "python")))
    # No workers unless a test wants some: most want models only.
    light = {"PROMPTATLAS_HOME": str(folder / "store"), "PROMPTATLAS_WORKERS": "0"}
    return {**clean, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **light, **ours}


def get(url: str, *, headers: Mapping[str, str] | None = None) -> httpx.Response:
    """GET over plain HTTP. The certificates that httpx would load for each request take longer than the request."""
    return httpx.get(url, headers=dict(headers or {}), verify=False)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: object, *, why: object = None) -> None:
    """Look until ``condition()`` holds; fails with ``why()`` when it never does."""
    assert callable(condition)
    give_up_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_s, why() if callable(why) else "waited in vain"
        time.sleep(0.05)


def children_of(parent: int) -> list[int]:
    """Living children, zombies left out."""
    return [pid for pid in _all_pids() if _is_living_child(pid, parent)]


def _is_living_child(pid: int, parent: int) -> bool:
    try:
        state, found = _stat(pid)[:2]
    except OSError:  # it has ended since it was listed
        return False
    return state not in ("Z", "X") and found == str(parent)


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return _stat(pid)[0] not in ("Z", "X")
    except OSError:
        return False


def command_of(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return []


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
