from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from starlette.types import Message, Receive, Scope, Send

from service.api.body_pace import BodyPace
from service.errors import RequestTooSlow


@dataclass
class Client:
    """Sends parts of a body, each after some seconds of a clock that only it and the application move."""

    parts: list[tuple[float, int]]
    content_type: str = "application/octet-stream"
    pause_s: float = 0.0
    now_s: float = 100.0
    received: list[int] = field(default_factory=list)

    async def receive(self) -> Message:
        seconds, n_bytes = self.parts.pop(0)
        self.now_s += seconds
        return {"type": "http.request", "body": b"x" * n_bytes, "more_body": bool(self.parts)}

    async def app(self, _scope: Scope, receive: Receive, _send: Send) -> None:
        more = True
        while more:
            message = await receive()
            self.received.append(len(message["body"]))
            self.now_s += self.pause_s
            more = message["more_body"]

    def send(self) -> None:
        async def drop(_message: Message) -> None:
            pass

        pace = BodyPace(
            self.app,
            window_s=20,
            min_bytes_per_s=10,
            total_s_of=lambda content_type: 50 if content_type == "application/json" else None,
            clock=lambda: self.now_s,
        )
        headers = [(b"content-type", f"{self.content_type}; charset=utf-8".encode())]
        asyncio.run(pace({"type": "http", "headers": headers}, self.receive, drop))


def test_a_body_that_keeps_the_rate_may_take_any_time() -> None:
    client = Client([(10, 100)] * 40)
    client.send()
    assert sum(client.received) == 4000


def test_a_body_below_the_rate_is_refused_after_a_window_however_fast_it_began() -> None:
    client = Client([(1, 100_000), (19, 1), (10, 50), (10, 149), (5, 1)])
    with pytest.raises(RequestTooSlow, match="at least 200 bytes of the body in 20 s, got 199"):
        client.send()
    assert client.received == [100_000, 1, 50]


def test_time_in_which_the_application_does_not_wait_is_free() -> None:
    client = Client([(1, 50)] * 30, pause_s=500)
    client.send()
    assert sum(client.received) == 1500


def test_the_last_part_may_be_late_within_its_window() -> None:
    client = Client([(1, 50), (25, 1)])
    client.send()
    assert client.received == [50, 1]


@pytest.mark.parametrize(("content_type", "is_limited"), [("application/json", True), ("multipart/form-data", False)])
def test_a_json_body_has_a_total_time(content_type: str, is_limited: bool) -> None:
    client = Client([(10, 1000)] * 9, content_type=content_type)
    if not is_limited:
        client.send()
        assert len(client.received) == 9
        return
    with pytest.raises(RequestTooSlow, match="whole body within 50 s"):
        client.send()
    assert len(client.received) == 4
