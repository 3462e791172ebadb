from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from workers.running.stop_signals import StopSignal, StopSignals


@pytest.fixture
def stop_signals() -> Iterator[StopSignals]:
    before = {order: signal.getsignal(order.value) for order in StopSignal}
    heard = StopSignals()
    heard.listen()
    yield heard
    for order, handler in before.items():
        signal.signal(order.value, handler)


@pytest.mark.parametrize(
    ("signals", "given"),
    [
        ([], None),
        ([signal.SIGTERM], StopSignal.SHUTDOWN),
        ([signal.SIGUSR1], StopSignal.CANCEL),
        ([signal.SIGTERM, signal.SIGUSR1], StopSignal.CANCEL),
        ([signal.SIGUSR1, signal.SIGTERM], StopSignal.CANCEL),
    ],
)
def test_signals_are_recorded_and_cancel_takes_precedence(
    stop_signals: StopSignals, signals: list[int], given: StopSignal | None
) -> None:
    for number in signals:
        os.kill(os.getpid(), number)
    assert stop_signals.received is given
