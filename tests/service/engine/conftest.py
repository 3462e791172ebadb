from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from service.engine.engine import Engine
from service.engine.model.hosted_model import HostedModel
from tests.oracle.models import ARCHITECTURES, build_model, build_tokenizer
from tests.service.engine import tokenizers
from tests.service.engine.contract import World
from tests.service.engine.small_engine import with_limits


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


@pytest.fixture(scope="module")
def plain() -> Any:
    """The small Llama of ``model``, as transformers runs it."""
    return build_model("llama")


@pytest.fixture(scope="module")
def model() -> HostedModel:
    return HostedModel("m", build_model("llama"), build_tokenizer(), revision="")


@pytest.fixture
def engine(model: HostedModel) -> Engine:
    return with_limits(model)


@pytest.fixture(scope="module")
def byte_level() -> PreTrainedTokenizerFast:
    return tokenizers.byte_level()


@pytest.fixture
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    """One of ``tokenizers.ALL``, by indirect parametrisation."""
    return tokenizers.ALL[request.param]()
