"""SIGKILL of each process during a run of each kind, at a seeded step after the first checkpoint."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.lab import Lab, Submitted
from tests.chaos.ledger import Ledger
from tests.chaos.processes import Broken, Host, Role, wait_for
from tests.chaos.workload import KINDS, checkpoints_of

N_CHECKPOINTS = {"tune": 20, "distill": 10, "evaluate": 6, "generate": 12, "batch": 12, "harvest": 20, "map": 2}
"""By kind: the last checkpoint after which a process is killed."""

WORKS_S = 2.0
"""Within which a process is killed during the other kinds, whose short runs save no checkpoint."""

_SPARES_RUNS = ("api", "engine", "redis")
"""Processes whose death leaves a running run alone: it ends in its first attempt."""

_N_TRIES = 5
_LOOK_S = 0.2


@dataclass
class Target:
    """A run during which a process is to be killed: after ``n_checkpoints``, or ``delay_s`` after its work began."""

    run: Submitted
    n_checkpoints: int
    delay_s: float
    n_tries: int = 1
    seen: set[tuple[str, int]] = field(default_factory=set)
    began_s: float | None = None

    def is_due(self, host: Host) -> bool:
        """Whether its step is reached."""
        if self.n_checkpoints:
            self.seen |= checkpoints_of(Path(host.home), self.run.id)
            return len(self.seen) >= self.n_checkpoints
        return self.began_s is not None and time.monotonic() - self.began_s >= self.delay_s

    def look(self, status: str) -> bool:
        """Note when the work begins; returns whether the run has ended."""
        if status == "running" and self.began_s is None:
            self.began_s = time.monotonic()
        return status not in ("queued", "running")


def kill(role: Role, *, lab: Lab, ledger: Ledger) -> None:
    """Kill the process of ``role`` once during a run of each kind; other runs wait in the queue meanwhile."""
    host = lab.host()
    with lab.watch(host, ledger, may_disconnect=role in ("main", "api")):
        targets = [_target(lab, host, lab.submit(host, kind)) for kind in KINDS]
        runs = [target.run for target in targets]
        looked_s = 0.0
        end_s = time.monotonic() + len(KINDS) * lab.run_within_s
        while targets:
            if time.monotonic() > end_s:
                raise Broken(f"runs do not go on: {[target.run.id for target in targets]}")
            for target in list(targets):
                if target.is_due(host) and _strike(role, target.run, lab=lab, host=host, ledger=ledger):
                    targets.remove(target)
            if time.monotonic() - looked_s >= _LOOK_S:
                _replace_ended(targets, runs, lab=lab, host=host, ledger=ledger)
                looked_s = time.monotonic()
            time.sleep(0.01)
        _finish(role, runs, lab=lab, host=host, ledger=ledger)


def _target(lab: Lab, host: Host, run: Submitted) -> Target:
    last = N_CHECKPOINTS.get(run.kind)
    return Target(run, lab.rng.randint(1, last) if last else 0, lab.rng.uniform(0.0, WORKS_S))


def _replace_ended(targets: list[Target], runs: list[Submitted], *, lab: Lab, host: Host, ledger: Ledger) -> None:
    """Runs that ended before their step came are replaced by new ones of their kind, to be disturbed earlier."""
    for target in list(targets):
        if not target.look(_state(host, target.run)[0]):
            continue
        targets.remove(target)
        if target.n_tries == _N_TRIES:
            ledger.lose(f"{target.run.kind} was not disturbed: its runs always ended before")
            continue
        run = lab.submit(host, target.run.kind)
        runs.append(run)
        targets.append(Target(run, min(1, target.n_checkpoints), target.delay_s / 2, n_tries=target.n_tries + 1))


def _strike(role: Role, run: Submitted, *, lab: Lab, host: Host, ledger: Ledger) -> bool:
    """Kill the process and wait for the recovery; False if the run has ended, or no such process works on it now."""
    status, attempts = _state(host, run)
    if status != "running" or None in (host.find(role, run_id=run.id), host.find("horse", run_id=run.id)):
        return False
    begin_s = time.monotonic()
    ledger.injected()
    if role in ("main", "horse", "worker"):
        host.kill(role, run_id=run.id)
    else:
        host.replace(role, within_s=lab.ready_within_s)
    if role == "main":
        host.start()
    host.wait_until_well(within_s=lab.ready_within_s)
    if role not in _SPARES_RUNS:
        # Queued for another worker, in its next attempt, or ended just before.
        wait_for(
            lambda: _state(host, run) != ("running", attempts),
            within_s=lab.ready_within_s,
            what=f"{run.kind} run {run.id} is queued again",
        )
    ledger.recovered(time.monotonic() - begin_s)
    return True


def _finish(role: Role, runs: list[Submitted], *, lab: Lab, host: Host, ledger: Ledger) -> None:
    for run in runs:
        lab.require_same_bits(host, run, ledger)
        if role in _SPARES_RUNS:
            attempts = _state(host, run)[1]
            ledger.require(attempts == 1, promise="running runs continue", otherwise=f"{attempts} attempts")


def _state(host: Host, run: Submitted) -> tuple[str, int]:
    """Status and number of attempts."""
    found = host.http.get(f"/v1/runs/{run.id}").json()
    return found["status"], found["attempts"]
