"""Small kinds of work for tests. Each follows its spec and records its steps in plain files under ``spec["folder"]``."""

from __future__ import annotations

import json
import os
import resource
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from workers.running.interface import RunContext, RunStopped, SharedRunContext, WorkContext

KINDS = {
    name: f"tests.workers.running.fake_kinds:{name}"
    for name in ("count", "deaf", "deadly", "broken", "crowded", "greedy", "share")
}
HELPERS = {"share": "tests.workers.running.fake_kinds:help_share"}


def count(run: RunContext) -> Mapping[str, float]:
    """Counts to ``steps`` with a checkpoint every ``every`` steps; continues from the last checkpoint."""
    spec = run.spec
    begun = run.load_checkpoint()
    start = 0 if begun is None else json.loads(begun["state.json"])["step"]
    note(run, "begun", start)
    for step in range(start, spec["steps"]):
        try:
            run.check()
        except RunStopped:
            run.save_checkpoint({"state.json": json.dumps({"step": step}).encode()})
            note(run, "stopped", step)
            raise
        time.sleep(spec["step_s"])
        note(run, "step", step)
        run.progress(step + 1, spec["steps"])
        run.metric(step + 1, loss=1 / (step + 1))
        if (step + 1) % spec["every"] == 0:
            run.save_checkpoint({"state.json": json.dumps({"step": step + 1}).encode()})
    run.save_output("total.txt", str(spec["steps"]).encode())
    return {"total": float(spec["steps"])}


def deaf(run: RunContext) -> Mapping[str, float]:
    """Saves a checkpoint, and then never checks for stop signals."""
    run.save_checkpoint({"state.json": b"{}"})
    note(run, "begun", 0)
    time.sleep(600)
    return {}


def deadly(run: RunContext) -> Mapping[str, float]:
    """Kills its own process."""
    note(run, "begun", 0)
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


def broken(run: RunContext) -> Mapping[str, float]:
    """Has a bug."""
    raise KeyError("no such thing")


def crowded(run: RunContext) -> Mapping[str, float]:
    """Saves a small checkpoint, then fails to save a larger one."""
    run.save_checkpoint({"state.bin": b"small"})
    # A limit on the size of files, which the store sees like a full disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, 65_536))
    run.save_checkpoint({"state.bin": bytes(1 << 20)})
    return {}


def greedy(run: RunContext) -> Mapping[str, float]:
    """Runs out of memory."""
    raise MemoryError


def share(run: SharedRunContext) -> Mapping[str, float]:
    """Does ``parts`` of the work, each once, together with helpers; begins when a helper has arrived."""
    while missing := _missing(run):
        run.check()
        free = run.coordinator.unleased(missing)
        run.coordinator.request_helpers(len(free) - 1)
        if _helpers(run).exists():
            _do_parts(run, free[:1])
        time.sleep(0.01)
    run.coordinator.withdraw_requests()
    return {"parts": float(run.spec["parts"])}


def help_share(place: WorkContext) -> None:
    """Does parts that are not leased; or fails at the first one, as given by the spec's ``helper``."""
    free = place.coordinator.unleased(_missing(place))
    with _helpers(place).open("a") as diary:
        diary.write(f"{os.getpid()} {free[0]}\n")
    if place.spec.get("helper") == "broken":
        raise KeyError("no such thing")
    if place.spec.get("helper") == "deadly":
        with place.coordinator.lease(free[0]):
            os.kill(os.getpid(), signal.SIGKILL)
    for part in _missing(place):
        if place.coordinator.runs_are_waiting():
            return
        _do_parts(place, [part])


def _helpers(place: WorkContext) -> Path:
    return Path(place.spec["folder"]) / "helpers.txt"


def _missing(place: WorkContext) -> list[str]:
    there = {path.name for path in Path(place.spec["folder"]).glob("part-*")}
    return [name for name in (f"part-{i}" for i in range(place.spec["parts"])) if name not in there]


def _do_parts(place: WorkContext, parts: Sequence[str]) -> None:
    """Do the parts; each file holds the process id of its worker."""
    for part in parts:
        place.check()
        path = Path(place.spec["folder"]) / part
        with place.coordinator.lease(part) as is_mine:
            if is_mine and not path.exists():
                time.sleep(place.spec["step_s"])
                place.check()
                path.write_text(str(os.getpid()))


def note(run: RunContext, word: str, step: int) -> None:
    """Append one line to the diary of the run, atomically."""
    line = f"{word} {step} attempt {run.attempt} pid {os.getpid()}\n"
    with (Path(run.spec["folder"]) / "diary.txt").open("a") as diary:
        diary.write(line)
