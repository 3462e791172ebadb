"""Redis is lost and comes back, stops answering, or loses its data, while runs are executed and others wait."""

from __future__ import annotations

import os
import signal
import time

from redis import Redis

from tests.chaos.lab import Lab, Submitted
from tests.chaos.ledger import Ledger
from tests.chaos.processes import Host
from tests.chaos.workload import KINDS
from tests.service.queueing.redis_server import RedisServer

AWAY_S = (4.0, 10.0)
"""How long Redis is away, at least and at most."""


def lost(lab: Lab, ledger: Ledger) -> None:
    """A Redis of its own is killed, stays away, and is started again over its files."""
    folder = lab.folder / f"redis-{ledger.n_faults}"
    folder.mkdir()
    redis = RedisServer(folder)
    redis.start()
    try:
        with lab.own_host(ledger, workers=2, settings={"REDIS_URL": redis.url}) as host:
            runs = _begin(lab, host)
            with lab.watch(host, ledger):
                redis.kill()
                ledger.injected()
                time.sleep(lab.rng.uniform(*AWAY_S))
                _require_refusal(host, ledger)
                redis.start()
                ledger.recovered(host.wait_until_well(within_s=lab.ready_within_s))
                _finish(lab, host, runs, ledger)
    finally:
        redis.close()


def frozen(lab: Lab, ledger: Ledger) -> None:
    """The embedded Redis stops answering for a while, as on a host that swaps."""
    host = lab.host()
    runs = _begin(lab, host)
    with lab.watch(host, ledger):
        pid = host.find("redis")
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        ledger.injected()
        try:
            time.sleep(lab.rng.uniform(*AWAY_S))
        finally:
            os.kill(pid, signal.SIGCONT)
        ledger.recovered(host.wait_until_well(within_s=lab.ready_within_s))
        _finish(lab, host, runs, ledger)


def flushed(lab: Lab, ledger: Ledger) -> None:
    """The embedded Redis is emptied, three times."""
    host = lab.host()
    runs = _begin(lab, host)
    with lab.watch(host, ledger):
        for _ in range(3):
            [socket] = host.temporary.glob("promptatlas-*/redis.sock")
            Redis(unix_socket_path=str(socket)).flushall()
            ledger.injected()
            ledger.recovered(host.wait_until_well(within_s=lab.ready_within_s))
            time.sleep(lab.rng.uniform(0.5, 3.0))
        _finish(lab, host, runs, ledger)


def _begin(lab: Lab, host: Host) -> list[Submitted]:
    """One run of each kind, of which the first two are executed."""
    runs = [lab.submit(host, kind) for kind in KINDS]
    lab.wait_for_status(host, runs[0], lambda status: status != "queued")
    return runs


def _require_refusal(host: Host, ledger: Ledger) -> None:
    """Without Redis a run is refused with the cause, or taken by the store and queued later."""
    answer = host.http.post("/v1/priors/sample", json={"model": "tiny", "prior": {"kind": "xavier"}, "n": 3})
    ledger.require(
        answer.status_code in (202, 503) and (answer.status_code == 202 or "Retry-After" in answer.headers),
        promise="a new run is taken or refused with a cause",
        otherwise=f"{answer.status_code} {answer.text[:200]}",
    )


def _finish(lab: Lab, host: Host, runs: list[Submitted], ledger: Ledger) -> None:
    for run in runs:
        lab.require_same_bits(host, run, ledger)
        attempts = host.http.get(f"/v1/runs/{run.id}").json()["attempts"]
        ledger.require(attempts == 1, promise="no run is repeated", otherwise=f"{run.kind}: {attempts} attempts")
