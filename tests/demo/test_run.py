"""`python -m demo.run` for real: what it prints, the picture it leaves, and the processes it does not."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "demo" / "model"
N_QUESTIONS = 24

pytestmark = pytest.mark.skipif(not (MODEL / "model.safetensors").exists(), reason="the demo model is not trained yet")


def command(output: Path) -> list[str]:
    return [sys.executable, "-m", "demo.run", "--output", str(output)]


def pids_of(output: Path) -> set[int]:
    """The processes that the service's log says it started."""
    return {int(pid) for pid in re.findall(r"process started.* pid=(\d+)", (output / "service.log").read_text())}


def is_alive(pid: int) -> bool:
    """Whether a process exists and is more than an entry that its parent has not read yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_for(condition: Callable[[], bool], *, within_s: float) -> bool:
    give_up_s = time.monotonic() + within_s
    while time.monotonic() < give_up_s:
        if condition():
            return True
        time.sleep(0.1)
    return condition()


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    output = tmp_path_factory.mktemp("demo") / "output"
    done = subprocess.run(command(output), cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    return done, output


def test_it_ends_well(finished: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    done, _ = finished
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""


def test_it_stores_prompts_of_every_kind(finished: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    printed = finished[0].stdout
    kinds = re.findall(r"^(\S+)@1 +(soft|prefix|deep, carried|deep, local) ", printed, re.MULTILINE)
    assert kinds == [
        ("header-soft", "soft"),
        ("header-prefix", "prefix"),
        ("header-carried", "deep, carried"),
        ("header-local", "deep, local"),
        ("noise", "soft"),
    ]


def scores(printed: str) -> dict[str, tuple[int, int]]:
    """By way of asking: how many answers were right, and how many were those of the typed header."""
    rows = re.findall(rf"^(\S.*?) +(\d+) of {N_QUESTIONS} +(\d+) of {N_QUESTIONS} *$", printed, re.MULTILINE)
    return {label: (int(right), int(same)) for label, right, same in rows}


def test_a_header_made_a_prompt_answers_as_the_header_typed(
    finished: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    found = scores(finished[0].stdout)
    assert found["header-soft"] == found["header-prefix"] == found["header typed"]
    assert found["header typed"][1] == N_QUESTIONS
    assert found["header typed"][0] > found["bare"][0]
    assert found["bare"][1] < N_QUESTIONS


def test_states_under_soft_and_prefix_are_those_of_the_header(
    finished: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    rows = re.findall(r"^(\S.*?) +(\d\.\d{4}) *$", finished[0].stdout, re.MULTILINE)
    distance = {label: float(value) for label, value in rows}
    assert distance["header-soft"] == distance["header-prefix"] == 0
    assert 0 < distance["header-carried"] < distance["bare"]
    assert distance["noise"] > 0


def test_all_ways_shared_forwards(finished: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    found = re.search(r"(\d+) completions in (\d+) forwards", finished[0].stdout)
    assert found is not None
    n_completions, n_forwards = map(int, found.groups())
    assert n_completions == N_QUESTIONS * 8
    # Ten tokens each and a few steps to admit everybody: far from one forward a completion.
    assert 1 < n_forwards < 40


def test_it_leaves_a_picture_and_no_process(finished: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    _, output = finished
    picture = (output / "picture.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 20_000
    pids = pids_of(output)
    assert len(pids) >= 2
    assert not [pid for pid in pids if is_alive(pid)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_half_way_it_takes_the_service_along(number: signal.Signals, tmp_path: Path) -> None:
    demo = subprocess.Popen(
        command(tmp_path), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        # A shell that runs the tests in the background has them ignore Ctrl-C, which children inherit.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert wait_for(lambda: (tmp_path / "service.log").exists() and len(pids_of(tmp_path)) == 2, within_s=60)
    demo.send_signal(number)
    printed, _ = demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert "the service has been stopped" in printed
    assert not [pid for pid in pids_of(tmp_path) if is_alive(pid)]


def test_killed_outright_it_leaves_no_service(tmp_path: Path) -> None:
    demo = subprocess.Popen(command(tmp_path), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert wait_for(lambda: (tmp_path / "service.log").exists() and len(pids_of(tmp_path)) == 2, within_s=60)
    pids = pids_of(tmp_path)
    os.kill(demo.pid, signal.SIGKILL)
    demo.wait()
    assert wait_for(lambda: not any(map(is_alive, pids)), within_s=30)
