from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from promptatlas.types.maps import PromptsSource

from service.errors import InvalidRequest, TooLarge
from service.map_sources.interface import run_to_end
from tests.service.map_sources.in_process import gathered
from tests.workers.evaluation.fake_run import FakeRun
from tests.workers.maps.small_map import make_run, put_prompt


@pytest.fixture
def run(tmp_path: Path) -> FakeRun:
    return make_run(tmp_path)


def test_a_local_prompt_has_points_at_its_own_layers_only(run: FakeRun) -> None:
    manifest = put_prompt(run, "local", kind="deep", layers=(1,), where="local")
    points = gathered(run, PromptsSource(prompts=["local"], draws=False), layers=(0, 1, 2))
    assert [points.n(layer) for layer in (0, 1, 2)] == [0, 3, 0]
    np.testing.assert_array_equal(points.vectors(1), run.prompts.load(manifest).tensors["deep.1"])


def test_a_carried_prompt_has_points_at_its_layer_and_above(run: FakeRun) -> None:
    manifest = put_prompt(run, "carried", kind="deep", layers=(1,), where="carried")
    points = gathered(run, PromptsSource(prompts=["carried"], draws=False), layers=(0, 1, 2))
    assert [points.n(layer) for layer in (0, 1, 2)] == [0, 3, 3]
    np.testing.assert_array_equal(points.vectors(1), run.prompts.load(manifest).tensors["deep.1"])
    assert not np.allclose(points.vectors(2), points.vectors(1))


def test_a_soft_prompt_has_its_own_vectors_at_the_embeddings(run: FakeRun) -> None:
    manifest = put_prompt(run, "soft")
    points = gathered(run, PromptsSource(prompts=["soft"], draws=False), layers=(0, 2))
    np.testing.assert_array_equal(points.vectors(0), run.prompts.load(manifest).tensors["soft"])
    assert points.n(2) == 3


def test_a_steering_vector_is_among_the_states_that_it_is_added_to(run: FakeRun) -> None:
    manifest = put_prompt(run, "steering", kind="steering", layers=(0, 2))
    points = gathered(run, PromptsSource(prompts=["steering"], draws=False), layers=(0, 1, 2))
    # The output of block 0 is the input of block 1. Above the last block, no map has a layer.
    assert [points.n(layer) for layer in (0, 1, 2)] == [0, 1, 0]
    np.testing.assert_array_equal(points.vectors(1)[0], run.prompts.load(manifest).tensors["steering.0"])


def test_a_prefix_has_no_points(run: FakeRun) -> None:
    put_prompt(run, "prefix", kind="prefix")
    with pytest.raises(InvalidRequest, match="no vectors"):
        gathered(run, PromptsSource(prompts=["prefix"], draws=False), layers=(0,))


def test_more_stages_than_allowed_are_refused(run: FakeRun) -> None:
    put_prompt(run, "soft")
    source = PromptsSource(prompts=["soft"], snapshots=True)
    assert gathered(run, source, layers=(0,), max_stages=4).n(0) == 12
    with pytest.raises(TooLarge, match="more than 3"):
        gathered(run, source, layers=(0,), max_stages=3)


def test_a_prompt_for_other_weights_is_refused(run: FakeRun) -> None:
    put_prompt(run, "soft")
    with pytest.raises(InvalidRequest, match="for revision other of 'small', got soft@1"):
        gathered(run, PromptsSource(prompts=["soft"]), layers=(0,), revision="other")


def test_a_source_that_waits_is_an_error() -> None:
    import asyncio

    with pytest.raises(RuntimeError, match="runs to its end"):
        run_to_end(asyncio.sleep(0))
