"""The same source read through both readers: in process as a worker does, and through the engine process as the API does."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from promptatlas.types.maps import ProjectBody

from service.api.engine_reads.map_points import gather_points
from service.engine.model.hosted_model import HostedModel
from service.map_sources.gathered_points import GatheredPoints
from tests.service.api.conftest import OpenWorld, World
from tests.service.api.map_world import open_small_world, put_map
from tests.service.map_sources.in_process import gathered
from tests.workers.evaluation.fake_run import FakeRun
from tests.workers.maps.small_map import put_prompt

LAYERS = (0, 1, 2)
SOURCES: list[dict[str, Any]] = [
    {"dataset": "words", "split": "test", "n": 6},
    {"dataset": "words", "n": 70, "per": "token", "include_target": False, "prompt_ref": "soft@1"},
    {"texts": ["t5 t6 t7", "t8 t9"], "prompt_ref": {"mix": [{"ref": "soft@1", "weight": 2.0}]}},
    {"prompts": ["soft@1", "carried@1", "local@1"], "snapshots": True},
    {"trajectories": {"inputs": ["t5 t6", "t7 " * 125, "t8"], "max_tokens": 4}},
    {"trajectories": {"dataset": "words", "n": 3, "max_tokens": 3, "prompt_ref": "local@1"}},
    {"embeddings": "vocabulary", "n": 11, "seed": 3},
]


@pytest.fixture
def map_world(open_world: OpenWorld, tmp_path: Path) -> tuple[World, FakeRun]:
    return open_small_world(open_world, tmp_path)


def rows(points: GatheredPoints, layer: int) -> list[dict[str, Any]]:
    """Labels of a layer's points, one dictionary each."""
    lists = points.labels(layer).points(np.zeros((points.n(layer), 2), np.float32)).lists()
    return [dict(zip(lists, values, strict=True)) for values in zip(*lists.values(), strict=True)]


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: next(iter(source)))
@pytest.mark.parametrize("is_sink", [False, True])
def test_both_readers_give_the_same_points(
    map_world: tuple[World, FakeRun], source: dict[str, Any], is_sink: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HostedModel, "first_token_is_sink", is_sink)
    world, run = map_world
    put_prompt(run, "soft")
    put_prompt(run, "carried", kind="deep", layers=(1,), where="carried")
    put_prompt(run, "local", kind="deep", layers=(1,), where="local")
    map_id = put_map(world, run, layers=list(LAYERS), sources=[{"texts": [f"t{i}" for i in range(5, 11)]}])
    (parsed,) = ProjectBody.model_validate({"sources": [{**source, "name": "source"}]}).sources
    here = gathered(run, parsed, layers=LAYERS)
    through_engine = asyncio.run(
        gather_points(
            [parsed],
            vectors=None,
            layers=LAYERS,
            found=world.services.maps.get(map_id),
            services=world.services,
            engine=world.engine,
            deadline_s=world.engine.deadline_in(60),
        )
    )
    assert here.n(0) > 0
    for layer in LAYERS:
        assert rows(through_engine, layer) == rows(here, layer)
        np.testing.assert_allclose(through_engine.vectors(layer), here.vectors(layer), atol=1e-4)
