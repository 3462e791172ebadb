from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess

import pytest

from service.hosting.processes.supervisor import Member, Supervisor

FORK = multiprocessing.get_context("fork")


def wait_for_ever() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    signal.pause()


def ignore_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.set_wakeup_fd(-1)
    os.kill(os.getppid(), signal.SIGINT)
    while True:
        signal.pause()


def leave(status: int) -> Callable[[], None]:
    return lambda: sys.exit(status)


@dataclass
class Family:
    """Starts ``body`` for each generation, and keeps all processes."""

    body: Callable[[int], Callable[[], None]]
    started: list[int] = field(default_factory=list)
    pids: list[int] = field(default_factory=list)
    cleaned: list[int] = field(default_factory=list)
    stops: list[str] = field(default_factory=list)

    def launch(self, generation: int) -> BaseProcess:
        self.started.append(generation)
        process = FORK.Process(target=self.body(generation))
        process.start()
        assert process.pid is not None
        self.pids.append(process.pid)
        return process

    def member(self, **fields: object) -> Member:
        return Member(name="x", launch=self.launch, clean=self.cleaned.append, **fields)  # type: ignore[arg-type]

    def run(self, **fields: object) -> int:
        return Supervisor([self.member(**fields)], on_stop=lambda: self.stops.append("stop")).run()


def tell(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.fixture(autouse=True)
def _handlers_are_put_back() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    assert signal.getsignal(signal.SIGTERM) is before


def assert_none_left(pids: list[int]) -> None:
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_everything(number: int) -> None:
    def body(_generation: int) -> Callable[[], None]:
        tell(number)
        return wait_for_ever

    family = Family(body)
    assert family.run() == 0
    assert family.stops == ["stop"]
    assert_none_left(family.pids)


def test_a_process_that_dies_is_replaced_and_cleaned_up_after() -> None:
    def body(generation: int) -> Callable[[], None]:
        if generation == 2:
            tell(signal.SIGTERM)
            return wait_for_ever
        return leave(1)

    family = Family(body)
    assert family.run() == 0
    assert family.started == [1, 2]
    assert family.cleaned == [1]
    assert_none_left(family.pids)


def test_a_fatal_exit_of_the_first_generation_ends_the_service() -> None:
    family = Family(lambda _: leave(3))
    assert family.run(fatal_exits=frozenset({3})) == 1
    assert family.started == [1]


def test_the_same_status_of_a_later_generation_is_not_fatal() -> None:
    def body(generation: int) -> Callable[[], None]:
        if generation == 3:
            tell(signal.SIGTERM)
            return wait_for_ever
        return leave(7 if generation == 1 else 3)

    times = iter(range(0, 10**9, 1000))  # each reading of the clock is past any back-off
    family = Family(body)
    supervisor = Supervisor(
        [family.member(fatal_exits=frozenset({3}))], on_stop=lambda: None, clock=lambda: float(next(times))
    )
    assert supervisor.run() == 0
    assert family.started == [1, 2, 3]


def test_a_second_signal_kills_at_once() -> None:
    def body(_generation: int) -> Callable[[], None]:
        tell(signal.SIGTERM)
        return ignore_sigterm  # which sends the second signal itself

    family = Family(body)
    assert family.run(stop_s=3600.0) == 0
    assert_none_left(family.pids)


def test_members_stop_one_after_the_other() -> None:
    ended, ending = os.pipe()

    def say(name: bytes) -> Callable[[], None]:
        def wait() -> None:
            signal.signal(signal.SIGTERM, lambda *_: (os.write(ending, name), os._exit(0)))
            signal.set_wakeup_fd(-1)
            if name == b"2":
                os.kill(os.getppid(), signal.SIGTERM)
            while True:
                signal.pause()

        return wait

    families = [Family(lambda _: say(b"1")), Family(lambda _: say(b"2"))]
    order: list[str] = []
    supervisor = Supervisor([family.member() for family in families], on_stop=lambda: order.append("on_stop"))
    assert supervisor.run() == 0
    assert order == ["on_stop"]
    assert os.read(ended, 9) == b"12"
    assert_none_left([pid for family in families for pid in family.pids])
