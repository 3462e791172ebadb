"""One service under test: starts it, finds and kills its processes, and checks what it leaves behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import httpx

from tests.integration.running import children_of, command_of, environment, free_port, is_alive

Role = Literal["main", "api", "engine", "workers", "worker", "horse", "redis"]
START_WITHIN_S = 180.0
LOOK_S = 0.01


class Broken(Exception):
    """Something that was promised does not hold; the message says what."""


def wait_for(condition: Callable[[], Any], *, within_s: float, what: str) -> float:
    """Wait until ``condition()`` is true; returns the seconds that took.

    Raises:
        Broken: it was not true within ``within_s``.
    """
    begin_s = time.monotonic()
    while not condition():
        if time.monotonic() - begin_s > within_s:
            raise Broken(f"{what}: not within {within_s:.0f} s")
        time.sleep(LOOK_S)
    return time.monotonic() - begin_s


def descendants_of(pid: int) -> list[int]:
    """Children, their children and so on."""
    children = children_of(pid)
    return [*children, *(found for child in children for found in descendants_of(child))]


class Host:
    """A service over one store, with its own folder for temporary files. It can be killed and started again.

    Args:
        folder: for its log and temporary files. home: the store. models: value of PROMPTATLAS_MODELS.
        settings: further settings, without prefix. environ: further variables.
    """

    def __init__(
        self, folder: Path, *, home: str, models: str, settings: Mapping[str, str], environ: Mapping[str, str]
    ) -> None:
        self.folder = folder
        self.home = home
        self.temporary = folder / "tmp"
        self.log = folder / "service.log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = httpx.Client(base_url=self.url, timeout=120)
        self._models = models
        self._settings = settings
        self._environ = environ
        self._process: subprocess.Popen[bytes] | None = None
        self._seen: set[tuple[int, str]] = set()
        self._runtime_folders: set[Path] = set()

    @property
    def pid(self) -> int:
        """Process id of the main process."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the main process runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start the service; returns at once."""
        self.temporary.mkdir(parents=True, exist_ok=True)
        settings = {
            "HOME": self.home,
            "PORT": str(self.port),
            "MODELS": self._models,
            "DEVICE": "cpu",
            **self._settings,
        }
        environ = {**environment(self.folder, **settings), "TMPDIR": str(self.temporary)}
        for name, value in self._environ.items():
            # A folder of modules goes in front of the others.
            environ[name] = f"{value}{os.pathsep}{environ[name]}" if name == "PYTHONPATH" else value
        with self.log.open("ab") as output:
            command = [sys.executable, "-m", "service"]
            self._process = subprocess.Popen(command, env=environ, cwd=self.folder, stderr=output, stdout=output)

    def wait_until_well(self, *, within_s: float = START_WITHIN_S, with_runs: bool = True) -> float:
        """Wait until it serves models and, with ``with_runs``, executes runs; returns the seconds that took."""

        def is_well() -> bool:
            if not self.is_running:
                raise Broken(f"the service ended by itself: {self.log_end()}")
            with contextlib.suppress(httpx.TransportError):
                answer = self.http.get("/ready", timeout=10)
                parts = answer.json()
                well = all(parts[part]["status"] == "ok" for part in ("redis", "workers"))
                return answer.status_code == 200 and (well or not with_runs)
            return False

        return wait_for(is_well, within_s=within_s, what="the service is ready")

    def remember(self) -> None:
        """Note the processes and the runtime folder, to look for them later."""
        if not self.is_running:
            return
        for pid in [self.pid, *descendants_of(self.pid)]:
            with contextlib.suppress(OSError):
                self._seen.add((pid, start_of(pid)))
        with contextlib.suppress(OSError, StopIteration):
            links = (os.readlink(link) for link in Path(f"/proc/{self.pid}/fd").iterdir())
            lock = next(target for target in links if "promptatlas-service-" in target and target.endswith("/lock"))
            self._runtime_folders.add(Path(lock).parent)

    def find(self, role: Role, *, run_id: str | None = None) -> int | None:
        """The process of a role, None if there is none. run_id: whose worker or work horse it is."""
        if role == "main":
            return self.pid
        children = children_of(self.pid)
        if role in ("horse", "worker"):
            return self._runner(role, children=children, run_id=run_id)
        tests: dict[str, Callable[[list[str]], bool]] = {
            "api": lambda command: command[1:3] == ["-m", "service"],
            "engine": lambda command: "multiprocessing.spawn" in " ".join(command[1:]),
            "workers": lambda command: command[1:3] == ["-m", "workers"],
            "redis": lambda command: "redis-server" in command[0],
        }
        return next((pid for pid in children if tests[role]([*command_of(pid), "", "", ""])), None)

    def kill(self, role: Role, *, run_id: str | None = None) -> bool:
        """Kill the process of a role with SIGKILL; False if there is none at the moment."""
        self.remember()
        pid = self.find(role, run_id=run_id)
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        if role == "main":
            assert self._process is not None
            self._process.wait()
        else:
            wait_for(lambda: not is_alive(pid), within_s=10, what=f"the killed {role} is gone")
        return True

    def replace(self, role: Role, *, within_s: float) -> None:
        """Kill a process that the service starts again, and wait until it has."""
        old = self.find(role)
        self.kill(role)
        wait_for(lambda: self.find(role) not in (None, old), within_s=within_s, what=f"a new {role} is started")

    def stop(self, *, within_s: float = 90.0) -> int:
        """Send SIGTERM and wait for the end; returns the exit status, -9 if it had to be killed."""
        self.remember()
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(within_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        return self._process.returncode

    def leftovers(self, *, within_s: float = 10.0) -> list[str]:
        """What an ended service has left: processes, folders for temporary files, an open port. Empty if nothing."""
        with contextlib.suppress(Broken):
            wait_for(lambda: not self._leftovers(), within_s=within_s, what="nothing is left")
        return self._leftovers()

    def result_files(self) -> list[Path]:
        """Results that wait to be sent."""
        self.remember()
        return [path for folder in self._runtime_folders for path in folder.glob("results-*/*")]

    def log_end(self) -> str:
        """The last lines of its log."""
        return self.log.read_text(errors="replace")[-2000:]

    def close(self) -> None:
        """Kill whatever still runs."""
        self.stop()
        self.http.close()
        for pid, start in self._seen:
            if _is_same(pid, start):
                os.kill(pid, signal.SIGKILL)

    def _leftovers(self) -> list[str]:
        found = [f"process {' '.join(command_of(pid))[:80]}" for pid, start in self._seen if _is_same(pid, start)]
        found += [f"runtime folder {folder.name}" for folder in self._runtime_folders if folder.exists()]
        return found + [
            f"temporary file {path.name}" for path in self.temporary.glob("promptatlas*") if self._is_left(path)
        ]

    def _is_left(self, path: Path) -> bool:
        """Whether a path should be gone. The embedded Redis keeps its files next to its socket if the store is remote."""
        is_kept = "://" in self.home and (path / "appendonly.aof").exists()
        return (path / "redis.sock").exists() if is_kept else True

    def _runner(self, role: Role, *, children: list[int], run_id: str | None) -> int | None:
        supervisors = [pid for pid in children if command_of(pid)[1:3] == ["-m", "workers"]]
        for worker in [worker for supervisor in supervisors for worker in children_of(supervisor)]:
            for horse in children_of(worker):
                if run_id is None or any(word.startswith(run_id) for word in command_of(horse)):
                    return horse if role == "horse" else worker
        return None


def start_of(pid: int) -> str:
    """When a process started, in clock ticks since boot: with its id it is unique."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def _is_same(pid: int, start: str) -> bool:
    try:
        return is_alive(pid) and start_of(pid) == start
    except OSError:
        return False
