"""`python -m demo.run` with few steps: its output, its report, and that no process is left."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from promptatlas import Client, Map

from demo.tour.steps import N_QUESTIONS
from demo.tour.tour import Size
from demo.tour.tours.demo_model import SCHEDULES, plan

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "demo" / "model"
N_PRIORS = len(plan(Size())[0].priors)
SMALL = ("--steps", "20", "--asked", "8", "--seeds", "1")

pytestmark = [
    pytest.mark.skipif(not (MODEL / "model.safetensors").exists(), reason="the demo model is not trained yet"),
    pytest.mark.timeout(600),
]


LINK = re.compile(r"the map +(http://\S+)/#/atlas/(\S+)\n")


def command(output: Path) -> list[str]:
    return [sys.executable, "-m", "demo.run", "--output", str(output), *SMALL]


def with_ctrl_c() -> None:
    """Restore Ctrl-C: a shell that runs the tests in the background ignores it, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def pids_of(output: Path) -> set[int]:
    """The ids of the processes in the service's log."""
    return {int(pid) for pid in re.findall(r"process started.* pid=(\d+)", (output / "service.log").read_text())}


def is_alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
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


@dataclass(frozen=True)
class Finished:
    """A demo that ran until Ctrl-C. fitted: the map, read from the service while it was running."""

    returncode: int
    stdout: str
    stderr: str
    output: Path
    fitted: Map


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    folder = tmp_path_factory.mktemp("demo")
    output, printed, complaints = folder / "output", folder / "stdout", folder / "stderr"
    with printed.open("wb") as out, complaints.open("wb") as err:
        demo = subprocess.Popen([*command(output), "--stay"], cwd=ROOT, stdout=out, stderr=err, preexec_fn=with_ctrl_c)
    try:
        assert wait_for(lambda: demo.poll() is not None or LINK.search(printed.read_text()) is not None, within_s=500)
        link = LINK.search(printed.read_text())
        assert link is not None, printed.read_text() + complaints.read_text()
        with Client(link[1], progress=False) as client:
            assert httpx.get(link[1]).headers["content-type"].startswith("text/html")
            fitted = client.maps.get(link[2])
        demo.send_signal(signal.SIGINT)
        yield Finished(demo.wait(60), printed.read_text(), complaints.read_text(), output, fitted)
    finally:
        demo.kill()
        demo.wait()


@pytest.fixture(scope="module")
def report(finished: Finished) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((finished.output / "report.json").read_text())
    return loaded


def test_it_succeeds_because_a_prompt_has_learnt_its_task(finished: Finished, report: dict[str, Any]) -> None:
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stderr == ""
    assert any(one["lifted"] and one["before"] <= 0.5 and one["after"] >= 0.85 for one in report["verdicts"])
    assert "✓ question answering, soft: qa-soft-" in finished.stdout


def test_every_prior_of_every_run_became_a_prompt(report: dict[str, Any]) -> None:
    assert [run["dataset"] for run in report["runs"]] == [f"demo-{task}" for task, _ in SCHEDULES]
    for run in report["runs"]:
        assert len({member["prompt"] for member in run["members"]}) == N_PRIORS
        assert {member["prior"]["kind"] for member in run["members"]} > {"isotropic", "gaussian", "exclusion"}
        for member in run["members"]:
            low, value, high = (member["metrics"][f"test/exact_match{end}"] for end in ("_low", "", "_high"))
            assert low <= value <= high
            # All differ from their draws, and those of the narrow prior stay nearer to tokens than those of the wide prior.
            assert member["distances"]["moved"] > 0
        assert min(member["steps_to_common_loss"] for member in run["members"]) <= 20
    draws = {member["prior"]["label"]: member["distances"]["draw_to_token"] for member in report["runs"][0]["members"]}
    assert draws["isotropic 0.02"] < draws["fitted, 5× as wide"]


def test_the_tables_are_printed_and_written(finished: Finished) -> None:
    rows = re.findall(r"^(.+?) +0 +(\d+) % → (\d+) % \[(\d+), (\d+)\] ", finished.stdout, re.MULTILINE)
    assert len(rows) == N_PRIORS * len(SCHEDULES)
    assert [row[0] for row in rows[:N_PRIORS]] == list(plan(Size())[0].priors)
    left = (finished.output / "report.md").read_text()
    assert left.count("| prior | seed |") == len(SCHEDULES)
    assert left.count(" % → ") == len(rows)


def scores(printed: str) -> dict[str, tuple[int, int]]:
    """Correct answers of each task, by variant."""
    rows = re.findall(rf"^(\S.*?) +(\d+) of {N_QUESTIONS} +(\d+) of {N_QUESTIONS} *$", printed, re.MULTILINE)
    return {label: (int(qa), int(arithmetic)) for label, qa, arithmetic in rows}


def test_prompts_are_served_by_name(finished: Finished) -> None:
    found = scores(finished.stdout)
    assert found["bare"] == (0, 0)
    assert found["soft"][0] > N_QUESTIONS // 2
    assert {"header typed", "deep", "seeds mixed", "other task's"} < set(found)


def test_all_variants_share_forwards(finished: Finished) -> None:
    found = re.search(r"(\d+) completions in (\d+) forwards", finished.stdout)
    assert found is not None
    n_completions, n_forwards = map(int, found.groups())
    assert n_completions == N_QUESTIONS * 6 * 2
    # Ten tokens each and a few steps for admission: far fewer than one forward per completion.
    assert 1 < n_forwards < 60


def test_states_under_a_tuned_prompt_are_near_those_of_the_header(finished: Finished) -> None:
    rows = re.findall(r"^(\S.*?) +(\d\.\d{3}) *$", finished.stdout, re.MULTILINE)
    distance = {label: float(value) for label, value in rows}
    assert distance["header typed"] == 0
    assert 0 < distance["soft"] < distance["bare"]


def test_it_keeps_running_with_a_map(finished: Finished) -> None:
    placed = re.search(r"(\d+) of (\d+) held-out +questions are nearest", finished.stdout.replace("\n", " "))
    assert placed is not None
    n_own, n_questions = map(int, placed.groups())
    assert n_questions == 2 * N_QUESTIONS
    assert n_own > 0.9 * n_questions
    made = finished.fitted
    assert made.layers == [0, 3, 4, 5]
    assert {"vocabulary", "question answering", "arithmetic", "arithmetic, deep"} <= set(made.source)
    assert {"embedding", "state", "draw", "snapshot", "posterior"} == set(made.role)


def test_it_prints_how_to_restart_the_service(finished: Finished) -> None:
    while_staying, afterwards = LINK.findall(finished.stdout)
    assert afterwards == ("http://127.0.0.1:8000", while_staying[1])
    assert f"PROMPTATLAS_HOME={finished.output / 'store'} make up" in finished.stdout.replace("\n", " ")


def test_it_writes_a_picture_and_leaves_no_process(finished: Finished) -> None:
    picture = (finished.output / "picture.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 20_000
    pids = pids_of(finished.output)
    assert len(pids) >= 4
    assert not [pid for pid in pids if is_alive(pid)]


def test_interrupted_it_stops_the_service(tmp_path: Path) -> None:
    demo = subprocess.Popen(
        command(tmp_path), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=with_ctrl_c
    )
    assert wait_for(lambda: (tmp_path / "service.log").exists() and len(pids_of(tmp_path)) >= 4, within_s=60)
    demo.send_signal(signal.SIGINT)
    printed, _ = demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert "the service has been stopped" in printed
    assert not [pid for pid in pids_of(tmp_path) if is_alive(pid)]


def test_killed_it_leaves_no_service(tmp_path: Path) -> None:
    demo = subprocess.Popen(command(tmp_path), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert wait_for(lambda: (tmp_path / "service.log").exists() and len(pids_of(tmp_path)) >= 4, within_s=60)
    pids = pids_of(tmp_path)
    os.kill(demo.pid, signal.SIGKILL)
    demo.wait()
    assert wait_for(lambda: not any(map(is_alive, pids)), within_s=30)
