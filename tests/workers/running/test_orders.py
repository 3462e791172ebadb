from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from workers.running.orders import Order, Orders


@pytest.fixture
def orders() -> Iterator[Orders]:
    before = {order: signal.getsignal(order.value) for order in Order}
    heard = Orders()
    heard.listen()
    yield heard
    for order, handler in before.items():
        signal.signal(order.value, handler)


@pytest.mark.parametrize(
    ("signals", "given"),
    [
        ([], None),
        ([signal.SIGTERM], Order.SHUTDOWN),
        ([signal.SIGUSR1], Order.CANCEL),
        ([signal.SIGTERM, signal.SIGUSR1], Order.CANCEL),
        ([signal.SIGUSR1, signal.SIGTERM], Order.CANCEL),
    ],
)
def test_signals_are_orders_and_to_cancel_outweighs(orders: Orders, signals: list[int], given: Order | None) -> None:
    for number in signals:
        os.kill(os.getpid(), number)
    assert orders.given is given
