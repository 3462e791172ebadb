from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from service.hosting.processes.threads import ENGINE_SPINS, thread_environ
from service.hosting.processes.waits import RECENT_S, RunBeats, ShortWaits, beating


@pytest.fixture
def beats(tmp_path: Path) -> RunBeats:
    return RunBeats(tmp_path)


def grow_old(folder: Path) -> None:
    for path in folder.iterdir():
        os.utime(path, (0, path.stat().st_mtime - RECENT_S - 1))


def test_no_run_is_recent_until_one_computes(beats: RunBeats, tmp_path: Path) -> None:
    assert not beats.are_recent()
    with beating(beats, beat_s=60):
        while not beats.are_recent():
            pass
    grow_old(tmp_path)
    assert not beats.are_recent()


def test_a_run_is_seen_again_and_again(beats: RunBeats, tmp_path: Path) -> None:
    with beating(beats, beat_s=0.001):
        for _ in range(3):
            while not beats.are_recent():
                pass
            grow_old(tmp_path)


def test_without_a_place_for_the_file_no_run_is_seen(tmp_path: Path) -> None:
    beats = RunBeats(tmp_path / "missing")
    beats.touch()
    assert not beats.are_recent()


def test_waits_are_short_while_runs_compute(beats: RunBeats, tmp_path: Path) -> None:
    teams: list[threading.Thread] = []
    started = threading.Event()

    def start_team() -> None:
        teams.append(threading.current_thread())
        started.set()

    waits = ShortWaits(beats, start_team=start_team)
    waits.update()
    assert not waits.are_short
    beats.touch()
    for _ in range(2):
        waits.update()
        assert waits.are_short
    assert started.wait(30)
    assert teams[0].is_alive()
    grow_old(tmp_path)
    waits.update()
    assert not waits.are_short
    teams[0].join(30)
    assert not teams[0].is_alive()
    assert len(teams) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads the threads of a process in /proc")
def test_the_second_team_exists_only_while_runs_compute(tmp_path: Path) -> None:
    """libgomp waits shortly if it has more threads than there are cores."""
    code = """
import os, sys, threading, time
import torch
from pathlib import Path
from service.hosting.engine_process.lit_api import start_team
from service.hosting.processes.waits import RunBeats, ShortWaits

def n_threads():
    return len(os.listdir("/proc/self/task"))

ready = threading.Event()
def start():
    start_team()
    ready.set()

torch.ones(1 << 20).add_(1)
alone = n_threads()
waits = ShortWaits(RunBeats(Path(sys.argv[1])), start_team=start)
RunBeats(Path(sys.argv[1])).touch()
waits.update()
ready.wait()
during_runs = n_threads()
(Path(sys.argv[1]) / f"promptatlas-runs-{os.getuid()}").unlink()
waits.update()
while n_threads() > alone:
    time.sleep(0.01)
print(during_runs - alone)
"""
    environ = thread_environ(os.environ, n_threads=3, n_spins=ENGINE_SPINS, is_set=True)
    output = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env=environ,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout
    assert int(output) >= 2  # the thread that keeps the team, and at least one other of the team
