"""A store, a Redis and workers in separate processes, with intervals of tenths of a second."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from service.queueing.intervals import Intervals
from service.queueing.queue import RunQueue
from service.store.artifacts.store import ArtifactStore
from service.store.runs.records import RunState
from service.store.runs.store import RunStore
from tests.integration.running import children_of, environment, is_alive, wait_until
from tests.service.queueing.redis_server import RedisServer

# alive_s is long compared with the others, since test machines may be busy.
HURRIED = Intervals(
    beat_s=0.2, alive_s=2.5, reconcile_s=0.5, look_s=0.1, cancel_grace_s=0.6, flush_s=0.1, retries_s=(0.1, 0.2)
)


@dataclass
class Workers:
    """A tree of worker processes. log: output of its processes."""

    process: subprocess.Popen[bytes]
    log: Path

    def worker_of(self, horse: int) -> int:
        """The worker that has started this work horse."""
        return next(pid for pid in children_of(self.process.pid) if horse in children_of(pid))

    @property
    def everyone(self) -> list[int]:
        """Process ids of the whole tree with its work horses."""
        members = children_of(self.process.pid)
        return [self.process.pid, *members, *(horse for member in members for horse in children_of(member))]

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(30)


@dataclass
class Yard:
    """Fixture of tests of runs. ``folder``: where fake kinds of work keep their diaries."""

    folder: Path
    redis: RedisServer
    timing: Intervals = HURRIED
    families: list[Workers] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.use_store(str(self.folder / "store"))
        self.queue = RunQueue.at(self.redis.url, timing=self.timing)

    def use_store(self, url: str) -> None:
        self.store = url
        self.runs = RunStore(ArtifactStore(url))

    def start_workers(
        self,
        n_workers: int = 1,
        *,
        timing: Intervals | None = None,
        host: Path | None = None,
        module: str = "tests.workers.running.launch",
        **settings: str,
    ) -> Workers:
        """``host``: a folder for all local files of these workers, as if on a separate machine. module: that starts them."""
        folder = host or self.folder
        folder.mkdir(exist_ok=True)
        log = folder / f"workers-{len(self.families)}.log"
        given = {
            "REDIS_URL": self.redis.url,
            "WORKERS": str(n_workers),
            "WORKER_GRACE_S": "5",
            "HOME": self.store,
            **settings,
        }
        environ = {**environment(folder, **given), "HOME": str(folder), "TMPDIR": str(folder)}
        command = [sys.executable, "-m", module, json.dumps(asdict(timing or self.timing))]
        with log.open("wb") as output:
            process = subprocess.Popen(command, env=environ, cwd=folder, stderr=output, stdout=output)
        family = Workers(process, log)
        self.families.append(family)
        return family

    def submit(self, kind: str, **spec: object) -> str:
        """Queue a new run; it has a folder for its diary."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        run_id = self.runs.create(kind, spec={"folder": str(folder), **spec}).id
        self.queue.enqueue(run_id, 1)
        return run_id

    def count(self, *, steps: int = 20, step_s: float = 0.03, every: int = 5) -> str:
        return self.submit("count", steps=steps, step_s=step_s, every=every)

    def state(self, run_id: str) -> RunState:
        return self.runs.get(run_id)[1]

    def diary(self, run_id: str) -> list[list[str]]:
        """Words of each line of the diary."""
        path = Path(self.runs.get(run_id)[0].spec["folder"]) / "diary.txt"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def steps(self, run_id: str) -> list[tuple[int, int]]:
        """Attempt and step of each completed step."""
        return [(int(line[3]), int(line[1])) for line in self.diary(run_id) if line[0] == "step"]

    def horse_of(self, run_id: str) -> int:
        return int(self.diary(run_id)[-1][5])

    def wait(self, run_id: str, condition: Callable[[RunState], bool]) -> RunState:
        wait_until(lambda: condition(self.state(run_id)), why=lambda: f"{self.state(run_id)}\n{self.logs()}")
        return self.state(run_id)

    def wait_for_end(self, run_id: str) -> RunState:
        return self.wait(run_id, lambda state: state.has_ended)

    def wait_for_steps(self, run_id: str, n_steps: int) -> None:
        wait_until(lambda: len(self.steps(run_id)) >= n_steps, why=self.logs)

    def logs(self) -> str:
        return "\n".join(family.log.read_text() for family in self.families)

    def close(self) -> None:
        for family in self.families:
            everyone = family.everyone if family.process.poll() is None else []
            if everyone:
                family.process.kill()
                family.process.wait()
            for pid in everyone:
                _await_end(pid)


@contextlib.contextmanager
def open_yard(folder: Path) -> Iterator[Yard]:
    redis = RedisServer(folder)
    redis.start()
    yard = Yard(folder=folder, redis=redis)
    try:
        yield yard
    finally:
        yard.close()
        redis.close()


def _await_end(pid: int) -> None:
    give_up_s = time.monotonic() + 10
    while is_alive(pid):
        if time.monotonic() > give_up_s:
            os.kill(pid, signal.SIGKILL)
            raise AssertionError(f"process {pid} outlived its family")
        time.sleep(0.02)


def reported_steps(yard: Yard, run_id: str) -> list[int]:
    """The step of each metric event, in order."""
    return [event.data["step"] for event in yard.runs.events(run_id) if event.type == "metric"]
