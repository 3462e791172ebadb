from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.service.engine.contract import World
from tests.workers.generate.small_generation import SmallGeneration


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World("llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture
def small(llama: World, tmp_path: Path) -> SmallGeneration:
    return SmallGeneration(llama, tmp_path)
