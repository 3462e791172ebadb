"""Serving arrivals under a clock of our own: who is served when, and what that makes of the latencies."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from benchmarks.contests.serving.arrivals import Arrival, Clock, Served, poisson, serve_continuously, serve_in_batches
from benchmarks.sides.batch import StaticBatch
from benchmarks.sides.engine import EngineSide
from benchmarks.sides.models import build_llama
from benchmarks.sides.workload import CompletionTask
from service.engine.requests import Event
from tests.benchmarks.sizes import LLAMA


class FakeTime:
    """Time that passes only where a server works or sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    @property
    def clock(self) -> Clock:
        return Clock(now=lambda: self.now_s, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now_s += seconds


class TimedBatch(StaticBatch):
    """Takes a second for every token of its longest answer."""

    def __init__(self, time: FakeTime) -> None:
        super().__init__(build_llama(LLAMA))
        self._time = time
        self.batches: list[int] = []

    def complete(self, tasks: Sequence[CompletionTask]) -> list[tuple[int, ...]]:
        self.batches.append(len(tasks))
        self._time.sleep(max(task.n_new for task in tasks))
        return super().complete(tasks)


class TimedEngine(EngineSide):
    """Takes a second for every step."""

    def __init__(self, time: FakeTime) -> None:
        super().__init__(build_llama(LLAMA))
        self._time = time

    def step(self) -> list[Event]:
        self._time.sleep(1.0)
        return super().step()


ARRIVALS = [
    Arrival(at_s=at_s, task=CompletionTask(ids=(5, 6, 7), n_new=n_new))
    for at_s, n_new in ((0, 6), (1.5, 2), (2.5, 3), (20, 2))
]


def test_a_fixed_batch_waits_for_its_longest_answer() -> None:
    time = FakeTime()
    batch = TimedBatch(time)
    served = serve_in_batches(batch, ARRIVALS, n_batch=32, clock=time.clock)
    # The first runs alone until 6; the next two then run together until 9; the last comes when nobody waits.
    assert batch.batches == [1, 2, 1]
    assert served.latencies_s == [6.0, 7.5, 6.5, 2.0]
    assert [len(row) for row in served.tokens] == [6, 2, 3, 2]
    assert served.total_s == 22.0


def test_a_fixed_batch_is_no_larger_than_allowed() -> None:
    time = FakeTime()
    batch = TimedBatch(time)
    serve_in_batches(batch, ARRIVALS, n_batch=1, clock=time.clock)
    assert batch.batches == [1, 1, 1, 1]


def test_the_engine_takes_arrivals_between_its_steps() -> None:
    time = FakeTime()
    served = serve_continuously(TimedEngine(time), ARRIVALS, clock=time.clock)
    # Each enters at the next whole second and takes one step a token.
    assert served.latencies_s == [6.0, 2.5, 3.5, 2.0]
    assert [len(row) for row in served.tokens] == [6, 2, 3, 2]


def test_metrics_count_tokens_and_order_latencies() -> None:
    served = Served(tokens=[(1, 2), (3,), (4, 5, 6)], latencies_s=[9.0, 1.0, 4.0], total_s=12.0)
    assert served.metrics() == {"tokens_per_s": 0.5, "p50_s": 4.0, "p95_s": 9.0}


def test_poisson_gaps_scale_with_their_mean() -> None:
    tasks = [CompletionTask(ids=(1,), n_new=1)] * 400
    slow, fast = (torch.tensor([a.at_s for a in poisson(tasks, mean_gap_s=gap)]) for gap in (2.0, 0.5))
    torch.testing.assert_close(slow, 4 * fast)
    assert fast[0] == 0
    assert float(fast.diff().mean()) == pytest.approx(0.5, rel=0.1)
    assert float(fast.diff().std()) == pytest.approx(0.5, rel=0.2)
