"""All scenarios by name, in the order in which they run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from tests.chaos.lab import Lab
from tests.chaos.ledger import Ledger
from tests.chaos.processes import Role
from tests.chaos.scenarios import buckets, damage, disks, kills, queues, stops, traffic


@dataclass(frozen=True)
class Scenario:
    """fault: in words, for the table. run: injects it and checks what is promised."""

    fault: str
    run: Callable[[Lab, Ledger], None]


def _kill(role: Role, fault: str) -> Scenario:
    return Scenario(f"SIGKILL of {fault}, during each kind of run", partial(_killing, role))


def _killing(role: Role, lab: Lab, ledger: Ledger) -> None:
    kills.kill(role, lab=lab, ledger=ledger)


SCENARIOS: Mapping[str, Scenario] = {
    "kill-horse": _kill("horse", "the work horse"),
    "kill-worker": _kill("worker", "the worker"),
    "kill-workers": _kill("workers", "the main process of the workers"),
    "kill-engine": _kill("engine", "the engine process"),
    "kill-api": _kill("api", "the API process"),
    "kill-redis": _kill("redis", "the embedded Redis"),
    "kill-main": _kill("main", "the main process, which is started again"),
    "redis-lost": Scenario("Redis is lost and comes back", queues.lost),
    "redis-frozen": Scenario("Redis does not answer for seconds", queues.frozen),
    "redis-flushed": Scenario("Redis is emptied", queues.flushed),
    "disk-full": Scenario("the disk of the store is full", disks.full),
    "disk-read-only": Scenario("the disk of the store is read-only", disks.read_only),
    "store-slow": Scenario("a bucket is slow: delayed blocks of data", buckets.slow),
    "store-lost-briefly": Scenario("a bucket is lost for 1 to 3 seconds", buckets.lost_briefly),
    "store-lost": Scenario("a bucket is lost for 10 to 15 seconds", buckets.lost),
    "damage": Scenario("single copies of prompts are damaged", damage.damage),
    "crowd": Scenario("1,600 requests at once", traffic.crowd),
    "slow-readers": Scenario("clients that read their streams slowly", traffic.slow_readers),
    "vanishing": Scenario("clients that vanish in the middle of a stream", traffic.vanishing),
    "stop": Scenario("SIGTERM under load", stops.stop_under_load),
}
