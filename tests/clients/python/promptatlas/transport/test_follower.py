"""When a stream that ended is reopened, after which delay, and when the run has ended."""

from __future__ import annotations

import pytest
from promptatlas import errors
from promptatlas.resources.run_requests import events_request
from promptatlas.transport.files import no_bar
from promptatlas.transport.follower import PATIENCE_S, Deadline, DeadlinePassed, Follower
from promptatlas.transport.retry import RetryPolicy
from promptatlas.transport.wire import Wire
from promptatlas.types import RunEvent

BROKEN = errors.BrokenStreamError("cut")


def follower(*, after: int = 0, ended: bool = False, timeout_s: float | None = None, now_s: float = 0.0) -> Follower:
    def clock() -> float:
        return now_s

    wire = Wire(policy=RetryPolicy(n_retries=0), timeout_s=600, random=lambda: 1.0, clock=clock, bar=no_bar)
    return Follower(
        wire,
        open_after=lambda last_id, following: events_request("r", after=last_id, following=following, options={}),
        deadline=Deadline(timeout_s, clock=clock),
        after=after,
        ended=ended,
    )


def event(number: int, kind: str = "metric") -> RunEvent:
    return RunEvent.model_validate({"id": number, "type": kind, "data": {}})


def test_events_are_not_repeated() -> None:
    one = follower(after=3)
    assert [one.fresh(event(number)) for number in (2, 3, 4, 4, 6, 5)] == [False, False, True, False, True, False]
    assert one.call().headers == {"Last-Event-ID": "6"}
    assert follower().call().headers == {}


def test_a_done_event_ends_only_a_run_that_has_ended() -> None:
    one = follower()
    one.opened()
    one.fresh(event(1, "done"))
    one.closed(None)
    assert one.in_doubt
    assert not one.over(ended=False)
    assert not one.in_doubt
    one.opened()
    one.fresh(event(2, "done"))
    one.closed(None)
    assert one.over(ended=True)


def test_a_stream_without_a_done_event_is_reopened_once_after_the_end_of_the_run() -> None:
    one = follower()
    for ended in (False, True):
        one.opened()
        one.closed(BROKEN)
        assert not one.over(ended=ended)
    one.opened()
    one.fresh(event(1))
    one.closed(BROKEN)
    assert not one.over(ended=True)
    one.opened()
    one.closed(BROKEN)
    assert one.over(ended=True)


def test_delays_grow_and_are_reset_by_a_response() -> None:
    one = follower()
    delays_s = []
    for _ in range(7):
        one.closed(errors.ConnectionFailedError("refused"))
        delays_s.append(one.delay_s)
    assert delays_s == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    one.opened()
    one.closed(BROKEN)
    assert one.delay_s == 0.5
    one.closed(None)
    assert one.delay_s == 0.0


def test_patience_has_an_end() -> None:
    one = follower()
    refused = errors.ConnectionFailedError("refused")
    waited_s = 0.0
    with pytest.raises(errors.ConnectionFailedError) as caught:  # noqa: PT012 — until it gives up
        while True:
            one.closed(refused)
            waited_s += one.delay_s
    assert caught.value is refused
    assert PATIENCE_S - 8 <= waited_s <= PATIENCE_S


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_server_errors_are_retried(status: int) -> None:
    one = follower()
    one.closed(errors.class_of(status)("no", status=status))
    assert one.delay_s == 0.5


@pytest.mark.parametrize(
    "error",
    [errors.NotFoundError("no", status=404), errors.UnexpectedAnswerError("x"), errors.ServerError("x", status=500)],
)
def test_permanent_errors_are_raised(error: errors.PromptAtlasError) -> None:
    with pytest.raises(type(error)):
        follower().closed(error)


def test_no_delay_exceeds_the_deadline() -> None:
    one = follower(timeout_s=0.3)
    one.closed(BROKEN)
    assert one.delay_s == pytest.approx(0.3)
    following = one.call().following
    assert following is not None
    assert following.quiet_s == pytest.approx(0.3)
    following.on_bytes()
    passed = Deadline(1.0, clock=iter([0.0, 1.0, 2.0]).__next__)
    for check in (passed.check, passed.remaining_s):
        with pytest.raises(DeadlinePassed):
            check()
