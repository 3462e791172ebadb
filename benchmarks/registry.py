"""All benchmarks by name, each in full and in quick size."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from benchmarks.contests.maps import maps, permutations
from benchmarks.contests.page import atlas, first_paint
from benchmarks.contests.serving import arrivals, completions, mixed_load, predictive, single, switching
from benchmarks.contests.smollm2 import completions as smollm2_completions
from benchmarks.contests.smollm2 import deep as smollm2_deep
from benchmarks.contests.smollm2 import llama as smollm2_llama
from benchmarks.contests.smollm2 import quality as smollm2_quality
from benchmarks.contests.smollm2 import squad as smollm2_squad
from benchmarks.contests.smollm2 import states as smollm2_states
from benchmarks.contests.smollm2 import step_floor as smollm2_step_floor
from benchmarks.contests.smollm2 import tuning as smollm2_tuning
from benchmarks.contests.states import capture, capture_cost, generate, harvest, trajectories, transfer
from benchmarks.contests.store import lists
from benchmarks.contests.tuning import cartridge as tuning_cartridge
from benchmarks.contests.tuning import checkpoints as tuning_checkpoints
from benchmarks.contests.tuning import deep as tuning_deep
from benchmarks.contests.tuning import distillation as tuning_distillation
from benchmarks.contests.tuning import quality as tuning_quality
from benchmarks.contests.tuning import soft as tuning
from benchmarks.contests.tuning import svgd as tuning_svgd
from benchmarks.contests.tuning import vocabulary as tuning_vocabulary
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
    "predictive": Benchmark(
        full=partial(predictive.open_contest, predictive.FULL), quick=partial(predictive.open_contest, predictive.QUICK)
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
        full=partial(atlas.open_contest, atlas.FULL),
        quick=partial(atlas.open_contest, atlas.QUICK),
        needs_http=True,
        needs_browser=True,
    ),
    "page-million": Benchmark(
        full=partial(atlas.open_contest, atlas.MILLION),
        quick=partial(atlas.open_contest, atlas.MILLION_QUICK),
        needs_http=True,
        needs_browser=True,
    ),
    "page-first-paint": Benchmark(
        full=partial(first_paint.open_contest, first_paint.FULL),
        quick=partial(first_paint.open_contest, first_paint.QUICK),
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
    "tuning-distillation": Benchmark(
        full=partial(tuning_distillation.open_contest, tuning_distillation.FULL),
        quick=partial(tuning_distillation.open_contest, tuning_distillation.QUICK),
    ),
    "tuning-cartridge": Benchmark(
        full=partial(tuning_cartridge.open_contest, tuning_cartridge.FULL),
        quick=partial(tuning_cartridge.open_contest, tuning_cartridge.QUICK),
    ),
    "tuning-svgd": Benchmark(
        full=partial(tuning_svgd.open_contest, tuning_svgd.FULL),
        quick=partial(tuning_svgd.open_contest, tuning_svgd.QUICK),
    ),
    "lists": Benchmark(full=partial(lists.open_contest, lists.FULL), quick=partial(lists.open_contest, lists.QUICK)),
    "tuning-checkpoints": Benchmark(
        full=partial(tuning_checkpoints.open_contest, tuning_checkpoints.FULL),
        quick=partial(tuning_checkpoints.open_contest, tuning_checkpoints.QUICK),
    ),
    "tuning-quality": Benchmark(
        full=partial(tuning_quality.open_contest, tuning_quality.FULL),
        quick=partial(tuning_quality.open_contest, tuning_quality.QUICK),
    ),
    "smollm2-tune-8": Benchmark(
        full=partial(smollm2_tuning.open_contest, smollm2_tuning.EIGHT),
        quick=partial(smollm2_tuning.open_contest, smollm2_tuning.EIGHT_QUICK),
    ),
    "smollm2-tune-1": Benchmark(
        full=partial(smollm2_tuning.open_contest, smollm2_tuning.ONE),
        quick=partial(smollm2_tuning.open_contest, smollm2_tuning.ONE_QUICK),
    ),
    "smollm2-step-floor": Benchmark(
        full=partial(smollm2_step_floor.open_contest, smollm2_step_floor.FULL),
        quick=partial(smollm2_step_floor.open_contest, smollm2_step_floor.QUICK),
    ),
    "smollm2-tune-squad": Benchmark(
        full=partial(smollm2_squad.open_contest, smollm2_squad.FULL),
        quick=partial(smollm2_squad.open_contest, smollm2_squad.QUICK),
    ),
    "smollm2-tune-deep": Benchmark(
        full=partial(smollm2_deep.open_contest, smollm2_deep.FULL),
        quick=partial(smollm2_deep.open_contest, smollm2_deep.QUICK),
    ),
    "smollm2-tune-quality": Benchmark(
        full=partial(smollm2_quality.open_contest, smollm2_quality.FULL),
        quick=partial(smollm2_quality.open_contest, smollm2_quality.QUICK),
    ),
    "smollm2-completions": Benchmark(
        full=partial(smollm2_completions.open_contest, smollm2_completions.FULL),
        quick=partial(smollm2_completions.open_contest, smollm2_completions.QUICK),
        needs_http=True,
    ),
    "smollm2-llama.cpp": Benchmark(
        full=partial(smollm2_llama.open_contest, smollm2_llama.MANY),
        quick=partial(smollm2_llama.open_contest, smollm2_llama.MANY_QUICK),
        needs_http=True,
    ),
    "smollm2-single": Benchmark(
        full=partial(smollm2_llama.open_contest, smollm2_llama.ONE),
        quick=partial(smollm2_llama.open_contest, smollm2_llama.ONE_QUICK),
        needs_http=True,
    ),
    "smollm2-states": Benchmark(
        full=partial(smollm2_states.open_contest, smollm2_states.FULL),
        quick=partial(smollm2_states.open_contest, smollm2_states.QUICK),
        needs_http=True,
    ),
}
