"""Every benchmark's sides give the same answer on a tiny model. Nothing is timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial

import pytest

from benchmarks.contests.maps import maps, permutations
from benchmarks.contests.serving import arrivals, completions, predictive, single, switching
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
from benchmarks.measuring.contest import Contest, warm_up
from benchmarks.registry import BENCHMARKS
from service.queueing.embedded_redis import find_server
from tests.benchmarks import sizes
from tests.benchmarks.contests import test_smollm2

Open = Callable[..., AbstractContextManager[Contest]]

OPEN: Mapping[str, Open] = {
    "completions": partial(completions.open_contest, sizes.COMPLETIONS),
    "arrivals": partial(arrivals.open_contest, sizes.ARRIVALS),
    "single": partial(single.open_contest, sizes.SINGLE),
    "predictive": partial(predictive.open_contest, sizes.PREDICTIVE),
    "capture": partial(capture.open_contest, sizes.CAPTURE),
    "trajectories": partial(trajectories.open_contest, sizes.TRAJECTORIES),
    "capture-cost": partial(capture_cost.open_contest, sizes.COMPLETIONS),
    "switching": partial(switching.open_contest, sizes.COMPLETIONS),
    "harvest": partial(harvest.open_contest, sizes.HARVEST),
    "generate": partial(generate.open_contest, replace(generate.QUICK, n_items=8)),
    "lists": partial(lists.open_contest, sizes.LISTS),
    "map-pca": partial(maps.open_fitting, sizes.FIT),
    "map-project": partial(maps.open_placing, sizes.PLACE),
    "permutations": partial(permutations.open_contest, sizes.PERMUTATIONS),
    "tuning-fused": partial(tuning.open_contest, sizes.TUNING),
    "tuning-single": partial(tuning.open_contest, replace(sizes.TUNING, n_prompts=1, pad_to=None)),
    "tuning-deep": partial(tuning_deep.open_contest, sizes.TUNING_DEEP),
    "tuning-vocabulary": partial(tuning_vocabulary.open_contest, sizes.TUNING_VOCABULARY),
    "tuning-distillation": partial(tuning_distillation.open_contest, sizes.TUNING_DISTILLATION),
    "tuning-cartridge": partial(tuning_cartridge.open_contest, sizes.TUNING_CARTRIDGE),
    "tuning-svgd": partial(tuning_svgd.open_contest, sizes.TUNING_SVGD),
    "tuning-checkpoints": partial(tuning_checkpoints.open_contest, sizes.TUNING_CHECKPOINTS),
    "tuning-quality": partial(tuning_quality.open_contest, sizes.TUNING_QUALITY),
}
OVER_HTTP: Mapping[str, Open] = {
    "completions": partial(completions.open_contest, sizes.COMPLETIONS),
    "capture": partial(capture.open_contest, sizes.CAPTURE),
    "transfer": partial(transfer.open_contest, sizes.TRANSFER),
}


def assert_sides_agree(contest: Contest) -> None:
    agreements = warm_up(contest)
    assert agreements
    assert [agreement for agreement in agreements if not agreement.holds] == []


@pytest.mark.parametrize("name", OPEN)
def test_sides_agree(name: str) -> None:
    if name in ("harvest", "generate") and find_server() is None:
        pytest.skip("no redis-server here")
    with OPEN[name](http=False) as contest:
        assert len(contest.sides) >= 2
        assert_sides_agree(contest)


@pytest.mark.parametrize("name", OVER_HTTP)
def test_sides_agree_over_http(name: str) -> None:
    with OVER_HTTP[name](http=True) as contest:
        assert "HTTP" in [side.name for side in contest.sides]
        assert_sides_agree(contest)


def test_no_contest_is_left_out() -> None:
    names = {name.removesuffix("-small").removesuffix("-large") for name in BENCHMARKS}
    elsewhere = {"page", "page-million", "page-first-paint", "mixed-load", *test_smollm2.OPEN}
    assert names == {*OPEN, *OVER_HTTP, *elsewhere}


def test_requests_end_at_their_own_lengths() -> None:
    tasks = arrivals.tasks_of(sizes.ARRIVALS)
    assert len({task.n_new for task in tasks}) > 1
    assert all(sizes.ARRIVALS.fewest_new <= task.n_new <= sizes.ARRIVALS.most_new for task in tasks)


def test_transfer_needs_http() -> None:
    with pytest.raises(ValueError, match="HTTP"), transfer.open_contest(sizes.TRANSFER, http=False):
        pass
