"""`python -m demo.run` for real, with few steps: what it prints, the report it leaves, and the processes it does not."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from demo.run import N_QUESTIONS
from demo.tour.plans import PACES, Size, plan

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "demo" / "model"
N_PRIORS = len(plan(Size())[0].priors)
SMALL = ("--steps", "20", "--asked", "8", "--seeds", "1")

pytestmark = [
    pytest.mark.skipif(not (MODEL / "model.safetensors").exists(), reason="the demo model is not trained yet"),
    pytest.mark.timeout(600),
]


def command(output: Path) -> list[str]:
    return [sys.executable, "-m", "demo.run", "--output", str(output), *SMALL]


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
    done = subprocess.run(command(output), cwd=ROOT, capture_output=True, text=True, timeout=540, check=False)
    return done, output


@pytest.fixture(scope="module")
def report(finished: tuple[subprocess.CompletedProcess[str], Path]) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((finished[1] / "report.json").read_text())
    return loaded


def test_it_ends_well_because_a_prompt_has_learnt_its_task(
    finished: tuple[subprocess.CompletedProcess[str], Path], report: dict[str, Any]
) -> None:
    done, _ = finished
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    assert any(one["lifted"] and one["before"] <= 0.5 and one["after"] >= 0.85 for one in report["verdicts"])
    assert "✓ question answering, soft: qa-soft-" in done.stdout


def test_every_prior_of_every_run_became_a_prompt(report: dict[str, Any]) -> None:
    assert [run["dataset"] for run in report["runs"]] == [f"demo-{task}" for task, _ in PACES]
    for run in report["runs"]:
        assert len({member["prompt"] for member in run["members"]}) == N_PRIORS
        assert {member["prior"]["kind"] for member in run["members"]} > {"isotropic", "gaussian", "exclusion"}
        for member in run["members"]:
            low, value, high = (member["metrics"][f"test/exact_match{end}"] for end in ("_low", "", "_high"))
            assert low <= value <= high
            # All can be told apart from their draws, and those of the narrow prior stay nearer to tokens than the wide ones'.
            assert member["distances"]["moved"] > 0
        assert min(member["steps_to_common_loss"] for member in run["members"]) <= 20
    draws = {member["prior"]["label"]: member["distances"]["draw_to_token"] for member in report["runs"][0]["members"]}
    assert draws["isotropic 0.02"] < draws["fitted, 5× as wide"]


def test_the_tables_are_printed_and_left(finished: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    done, output = finished
    rows = re.findall(r"^(.+?) +0 +(\d+) % → (\d+) % \[(\d+), (\d+)\] ", done.stdout, re.MULTILINE)
    assert len(rows) == N_PRIORS * len(PACES)
    assert [row[0] for row in rows[:N_PRIORS]] == list(plan(Size())[0].priors)
    left = (output / "report.md").read_text()
    assert left.count("| prior | seed |") == len(PACES)
    assert left.count(" % → ") == len(rows)


def scores(printed: str) -> dict[str, tuple[int, int]]:
    """By way of asking: right answers of each task."""
    rows = re.findall(rf"^(\S.*?) +(\d+) of {N_QUESTIONS} +(\d+) of {N_QUESTIONS} *$", printed, re.MULTILINE)
    return {label: (int(qa), int(arithmetic)) for label, qa, arithmetic in rows}


def test_prompts_are_served_by_name(finished: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    found = scores(finished[0].stdout)
    assert found["bare"] == (0, 0)
    assert found["soft"][0] > N_QUESTIONS // 2
    assert {"header typed", "deep", "seeds mixed", "other task's"} < set(found)


def test_all_ways_shared_forwards(finished: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    found = re.search(r"(\d+) completions in (\d+) forwards", finished[0].stdout)
    assert found is not None
    n_completions, n_forwards = map(int, found.groups())
    assert n_completions == N_QUESTIONS * 6 * 2
    # Ten tokens each and a few steps to admit everybody: far from one forward a completion.
    assert 1 < n_forwards < 60


def test_states_under_a_tuned_prompt_come_near_those_of_the_header(
    finished: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    rows = re.findall(r"^(\S.*?) +(\d\.\d{3}) *$", finished[0].stdout, re.MULTILINE)
    distance = {label: float(value) for label, value in rows}
    assert distance["header typed"] == 0
    assert 0 < distance["soft"] < distance["bare"]


def test_it_leaves_a_picture_and_no_process(finished: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    _, output = finished
    picture = (output / "picture.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 20_000
    pids = pids_of(output)
    assert len(pids) >= 4
    assert not [pid for pid in pids if is_alive(pid)]


def test_stopped_half_way_it_takes_the_service_along(tmp_path: Path) -> None:
    demo = subprocess.Popen(
        command(tmp_path), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        # A shell that runs the tests in the background has them ignore Ctrl-C, which children inherit.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    assert wait_for(lambda: (tmp_path / "service.log").exists() and len(pids_of(tmp_path)) >= 4, within_s=60)
    demo.send_signal(signal.SIGINT)
    printed, _ = demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert "the service has been stopped" in printed
    assert not [pid for pid in pids_of(tmp_path) if is_alive(pid)]


def test_killed_outright_it_leaves_no_service(tmp_path: Path) -> None:
    demo = subprocess.Popen(command(tmp_path), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert wait_for(lambda: (tmp_path / "service.log").exists() and len(pids_of(tmp_path)) >= 4, within_s=60)
    pids = pids_of(tmp_path)
    os.kill(demo.pid, signal.SIGKILL)
    demo.wait()
    assert wait_for(lambda: not any(map(is_alive, pids)), within_s=30)
