"""The disk of the store is full or read-only while runs are executed and others wait."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
from promptatlas.types import RunKind

from tests.chaos.faulty_disk import SmallDisk, small_disk
from tests.chaos.lab import Lab, Submitted
from tests.chaos.ledger import Ledger
from tests.chaos.processes import Host, wait_for
from tests.chaos.workload import checkpoints_of
from tests.service.queueing.redis_server import RedisServer

KINDS: tuple[RunKind, ...] = ("tune", "harvest", "evaluate", "map")
LASTS_S = (3.0, 8.0)
"""How long the fault lasts, at least and at most."""


def full(lab: Lab, ledger: Ledger) -> None:
    """Another program takes all the space."""
    _fault(lab, ledger, begin=lambda disk: disk.fill(), end=lambda disk: disk.clear(), cause="no space left")


def read_only(lab: Lab, ledger: Ledger) -> None:
    """The file system is remounted read-only, as after an error of its device."""
    _fault(lab, ledger, begin=lambda disk: disk.protect(), end=lambda disk: disk.unprotect(), cause="read-only")


def _fault(
    lab: Lab, ledger: Ledger, *, begin: Callable[[SmallDisk], None], end: Callable[[SmallDisk], None], cause: str
) -> None:
    with _host(lab, ledger) as (host, disk):
        runs = [lab.submit(host, kind) for kind in KINDS]
        _wait_for_checkpoints(lab, host, runs[0])
        with lab.watch(host, ledger):
            begin(disk)
            ledger.injected()
            begin_s = time.monotonic()
            try:
                _require_refusal(host, ledger, cause=cause)
                time.sleep(max(0.0, lab.rng.uniform(*LASTS_S) - (time.monotonic() - begin_s)))
            finally:
                end(disk)
            ledger.recovered(host.wait_until_well(within_s=lab.ready_within_s))
            for run in runs:
                resume_if_failed(lab, host, run, ledger, cause=cause)
                lab.require_same_bits(host, run, ledger)


@contextlib.contextmanager
def _host(lab: Lab, ledger: Ledger) -> Iterator[tuple[Host, SmallDisk]]:
    """A service whose store is on a small disk. Redis is elsewhere: a disk with an open file cannot be write-protected."""
    folder = lab.folder / f"{ledger.name}-{ledger.n_faults}"
    folder.mkdir()
    redis = RedisServer(folder)
    redis.start()
    try:
        with small_disk(folder / "disk") as disk:
            settings = {"REDIS_URL": redis.url}
            home = str(disk.folder / "store")
            with lab.own_host(ledger, workers=2, home=home, settings=settings, environ=disk.environ) as host:
                yield host, disk
    finally:
        redis.close()


def _wait_for_checkpoints(lab: Lab, host: Host, run: Submitted) -> None:
    wanted = lab.rng.randint(2, 12)
    seen: set[tuple[str, int]] = set()

    def enough() -> bool:
        seen.update(checkpoints_of(Path(host.home), run.id))
        return len(seen) >= wanted

    wait_for(enough, within_s=300, what=f"{run.kind} run {run.id} has saved {wanted} checkpoints")


def _require_refusal(host: Host, ledger: Ledger, *, cause: str) -> None:
    """An upload is refused with the cause, and ``/ready`` names it; completions go on (the watcher looks)."""
    answers: list[httpx.Response] = []

    def refused() -> bool:
        answers.append(host.http.get("/ready"))
        return answers[-1].status_code == 503

    wait_for(refused, within_s=10, what="/ready notices the disk")
    detail = answers[-1].json()["store"]["detail"] or ""
    ledger.require(cause in detail.lower(), promise="/ready names the cause", otherwise=detail)
    about = {"name": "refused", "format": "jsonl"}
    # Larger than the checkpoints that a run replaces meanwhile, whose space is free for a moment.
    lines = '{"text": "refused"}\n' * 200_000
    answer = host.http.post("/v1/datasets", params=about, content=lines, headers={"Content-Type": "application/jsonl"})
    is_named = answer.status_code == 503 and "Retry-After" in answer.headers and cause in answer.text.lower()
    ledger.require(
        is_named, promise="uploads are refused with the cause", otherwise=f"{answer.status_code} {answer.text}"
    )


def resume_if_failed(lab: Lab, host: Host, run: Submitted, ledger: Ledger, *, cause: str) -> None:
    """A run that the store stopped has failed with the cause; its owner resumes it."""
    lab.wait_for_end(host, run)
    found = host.http.get(f"/v1/runs/{run.id}").json()
    if found["status"] == "succeeded":
        return
    is_named = found["status"] == "failed" and cause in (found["error"] or "").lower() and found["resumable"]
    ledger.require(is_named, promise="a stopped run names the cause", otherwise=f"{run.kind}: {found['error']}")
    answer = host.http.post(f"/v1/runs/{run.id}/resume")
    ledger.require(answer.status_code == 202, promise="it is resumed", otherwise=f"{answer.status_code} {answer.text}")
