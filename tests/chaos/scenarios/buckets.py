"""The store is in a bucket that becomes slow, is lost for a moment, or is lost for long."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from promptatlas.types import RunKind

from tests.chaos.faulty_network import Bucket, bucket
from tests.chaos.lab import Lab, Submitted
from tests.chaos.ledger import Ledger
from tests.chaos.processes import Host
from tests.chaos.scenarios.disks import resume_if_failed

KINDS: tuple[RunKind, ...] = ("evaluate", "harvest", "map")
MOMENT_S = (1.0, 3.0)
"""An outage that retries of the workers outlast."""

LONG_S = (10.0, 15.0)
"""An outage that they do not."""


def slow(lab: Lab, ledger: Ledger) -> None:
    """Every block of data takes a while; everything works, only later."""
    with _begin(lab, ledger) as (host, found, runs):
        found.proxy.set("slow")
        time.sleep(lab.rng.uniform(*LONG_S))
        found.proxy.set("open")
        ledger.injected(found.proxy.n_faults)
        ledger.recovered(host.wait_until_well(within_s=lab.ready_within_s))
        _finish(lab, host, runs, ledger)


def lost_briefly(lab: Lab, ledger: Ledger) -> None:
    """Connections are dropped and refused for a moment, several times; no run is stopped by that."""
    with _begin(lab, ledger) as (host, found, runs):
        for _ in range(3):
            found.proxy.set("dropped")
            ledger.injected()
            time.sleep(lab.rng.uniform(*MOMENT_S))
            found.proxy.set("open")
            ledger.recovered(host.wait_until_well(within_s=lab.ready_within_s))
            time.sleep(lab.rng.uniform(0.5, 2.0))
        _finish(lab, host, runs, ledger)


def lost(lab: Lab, ledger: Ledger) -> None:
    """Connections stall, and later are dropped, for longer than anyone retries."""
    with _begin(lab, ledger) as (host, found, runs):
        for mode in ("stalled", "dropped"):
            found.proxy.set("stalled" if mode == "stalled" else "dropped")
            ledger.injected()
            time.sleep(lab.rng.uniform(*LONG_S))
            found.proxy.set("open")
            ledger.recovered(host.wait_until_well(within_s=lab.ready_within_s))
        _finish(lab, host, runs, ledger)


@contextlib.contextmanager
def _begin(lab: Lab, ledger: Ledger) -> Iterator[tuple[Host, Bucket, list[Submitted]]]:
    """A service on a bucket, with one run that is executed and others that wait, and a watcher."""
    with (
        bucket(f"{ledger.name}-{ledger.n_faults}") as found,
        lab.own_host(ledger, workers=1, home=found.home, environ=found.environ) as host,
    ):
        runs = [lab.submit(host, kind) for kind in KINDS]
        lab.wait_for_status(host, runs[0], lambda status: status != "queued")
        with lab.watch(host, ledger):
            yield host, found, runs


def _finish(lab: Lab, host: Host, runs: list[Submitted], ledger: Ledger) -> None:
    for run in runs:
        resume_if_failed(lab, host, run, ledger, cause="store")
        lab.require_same_bits(host, run, ledger)
