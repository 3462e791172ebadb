"""Two ranks: this process, which serves, and one that repeats its calls."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest
import torch

from service.engine.model.hosted_model import HostedModel
from service.engine.parallel.ranks import Ranks, start_ranks
from tests.service.engine.contract import World

TIMEOUT_S = 120.0


@pytest.fixture(scope="module")
def losses() -> list[str]:
    """Why ranks were lost, where the service would end."""
    return []


@pytest.fixture(scope="module")
def ranks(losses: list[str]) -> Iterator[Ranks]:
    environ, n_threads = dict(os.environ), torch.get_num_threads()
    found = start_ranks(2, timeout_s=TIMEOUT_S, on_lost=losses.append)
    yield found
    found.close()
    os.environ.clear()
    os.environ.update(environ)
    torch.set_num_threads(n_threads)


@pytest.fixture(scope="module")
def divided(ranks: Ranks, world_of: Callable[[str], World]) -> Callable[[str], World]:
    """Architecture → its world, whose model both ranks have loaded, once."""
    worlds: dict[str, World] = {}

    def get(name: str) -> World:
        if name not in worlds:
            whole = world_of(name)
            worlds[name] = DividedWorld(name, whole, ranks)
        return worlds[name]

    return get


class DividedWorld(World):
    """The world of a model that is divided over ranks; its oracle is that of the whole one."""

    def __init__(self, name: str, whole: World, ranks: Ranks) -> None:
        self.__dict__.update(whole.__dict__)
        self.__dict__["hosted"] = HostedModel.load("small", str(whole.folder), dtype="float32", ranks=ranks)
