"""All benchmarks by name, each in full and in quick size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from benchmarks import (
    arrivals,
    capture,
    capture_cost,
    completions,
    single,
    switching,
    trajectories,
    transfer,
)
from benchmarks.measuring.contest import Contest

Open = Callable[..., AbstractContextManager[Contest]]


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """How to open a contest; both take the keyword ``http``: whether the service is measured too.

    needs_http: there is nothing to measure without it.
    """

    full: Open
    quick: Open
    needs_http: bool = False


BENCHMARKS: Mapping[str, Benchmark] = {
    "completions": Benchmark(
        full=partial(completions.open_contest, completions.FULL),
        quick=partial(completions.open_contest, completions.QUICK),
    ),
    "arrivals": Benchmark(
        full=partial(arrivals.open_contest, arrivals.FULL), quick=partial(arrivals.open_contest, arrivals.QUICK)
    ),
    "single": Benchmark(
        full=partial(single.open_contest, single.FULL), quick=partial(single.open_contest, single.QUICK)
    ),
    "capture-small": Benchmark(
        full=partial(capture.open_contest, capture.SMALL), quick=partial(capture.open_contest, capture.SMALL_QUICK)
    ),
    "capture-large": Benchmark(
        full=partial(capture.open_contest, capture.LARGE), quick=partial(capture.open_contest, capture.LARGE_QUICK)
    ),
    "trajectories": Benchmark(
        full=partial(trajectories.open_contest, trajectories.FULL),
        quick=partial(trajectories.open_contest, trajectories.QUICK),
    ),
    "capture-cost": Benchmark(
        full=partial(capture_cost.open_contest, capture_cost.FULL),
        quick=partial(capture_cost.open_contest, capture_cost.QUICK),
    ),
    "switching": Benchmark(
        full=partial(switching.open_contest, switching.FULL), quick=partial(switching.open_contest, switching.QUICK)
    ),
    "transfer": Benchmark(
        full=partial(transfer.open_contest, transfer.FULL),
        quick=partial(transfer.open_contest, transfer.QUICK),
        needs_http=True,
    ),
}
