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
    generate,
    harvest,
    maps,
    mixed_load,
    page,
    permutations,
    single,
    switching,
    trajectories,
    transfer,
    tuning,
    tuning_checkpoints,
    tuning_deep,
    tuning_quality,
    tuning_vocabulary,
)
from benchmarks.measuring.contest import Contest

Open = Callable[..., AbstractContextManager[Contest]]


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """Functions that open a contest; both take the keyword ``http``, whether to measure the service too.

    needs_http: whether it runs only with HTTP. needs_browser: whether it needs Chromium.
    """

    full: Open
    quick: Open
    needs_http: bool = False
    needs_browser: bool = False


BENCHMARKS: Mapping[str, Benchmark] = {
    "completions": Benchmark(
        full=partial(completions.open_contest, completions.FULL),
        quick=partial(completions.open_contest, completions.QUICK),
    ),
    "arrivals": Benchmark(
        full=partial(arrivals.open_contest, arrivals.FULL), quick=partial(arrivals.open_contest, arrivals.QUICK)
    ),
    "mixed-load": Benchmark(
        full=partial(mixed_load.open_contest, mixed_load.FULL),
        quick=partial(mixed_load.open_contest, mixed_load.QUICK),
        needs_http=True,
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
    "harvest": Benchmark(
        full=partial(harvest.open_contest, harvest.FULL), quick=partial(harvest.open_contest, harvest.QUICK)
    ),
    "generate": Benchmark(
        full=partial(generate.open_contest, generate.FULL), quick=partial(generate.open_contest, generate.QUICK)
    ),
    "map-pca": Benchmark(
        full=partial(maps.open_fitting, maps.FIT_FULL), quick=partial(maps.open_fitting, maps.FIT_QUICK)
    ),
    "map-project": Benchmark(
        full=partial(maps.open_placing, maps.PLACE_FULL), quick=partial(maps.open_placing, maps.PLACE_QUICK)
    ),
    "page": Benchmark(
        full=partial(page.open_contest, page.FULL),
        quick=partial(page.open_contest, page.QUICK),
        needs_http=True,
        needs_browser=True,
    ),
    "permutations": Benchmark(
        full=partial(permutations.open_contest, permutations.FULL),
        quick=partial(permutations.open_contest, permutations.QUICK),
    ),
    "tuning-fused": Benchmark(
        full=partial(tuning.open_contest, tuning.FUSED), quick=partial(tuning.open_contest, tuning.FUSED_QUICK)
    ),
    "tuning-single": Benchmark(
        full=partial(tuning.open_contest, tuning.SINGLE), quick=partial(tuning.open_contest, tuning.SINGLE_QUICK)
    ),
    "tuning-deep": Benchmark(
        full=partial(tuning_deep.open_contest, tuning_deep.FULL),
        quick=partial(tuning_deep.open_contest, tuning_deep.QUICK),
    ),
    "tuning-vocabulary": Benchmark(
        full=partial(tuning_vocabulary.open_contest, tuning_vocabulary.FULL),
        quick=partial(tuning_vocabulary.open_contest, tuning_vocabulary.QUICK),
    ),
    "tuning-checkpoints": Benchmark(
        full=partial(tuning_checkpoints.open_contest, tuning_checkpoints.FULL),
        quick=partial(tuning_checkpoints.open_contest, tuning_checkpoints.QUICK),
    ),
    "tuning-quality": Benchmark(
        full=partial(tuning_quality.open_contest, tuning_quality.FULL),
        quick=partial(tuning_quality.open_contest, tuning_quality.QUICK),
    ),
}
