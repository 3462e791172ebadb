from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tests.oracle.models import ARCHITECTURES
from tests.service.engine.contract import World


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def world_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], World]:
    """Architecture → its world, built once."""
    worlds: dict[str, World] = {}

    def get(name: str) -> World:
        if name not in worlds:
            worlds[name] = World(name, tmp_path_factory.mktemp(name))
        return worlds[name]

    return get


@pytest.fixture(scope="module", params=list(ARCHITECTURES))
def world(request: pytest.FixtureRequest, world_of: Callable[[str], World]) -> World:
    """Every architecture in turn."""
    return world_of(request.param)


@pytest.fixture(scope="session")
def llama(world_of: Callable[[str], World]) -> World:
    return world_of("llama")
