"""A small base shape, prompts for it, and a clock that tests set."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest

from service.store.artifacts import ArtifactStore
from service.store.prompt_checks import BaseShape
from service.store.prompt_files import PromptFile, make_prompt
from service.store.prompts import PromptStore

MakeSoft = Callable[..., PromptFile]


class SetClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 24, 12, 0, 0, 250, tzinfo=timezone.utc)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **how_long: float) -> None:
        self.now += timedelta(**how_long)


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def base() -> BaseShape:
    return BaseShape(name="tiny", revision="rev-1", n_layers=3, d_model=7, n_kv_heads=2, d_head=5, n_positions=31)


@pytest.fixture
def soft(base: BaseShape) -> MakeSoft:
    """Different seeds give different contents."""

    def make(seed: int, **options: Any) -> PromptFile:
        vectors = np.random.default_rng(seed).normal(size=(4, 7)).astype(np.float32)
        return make_prompt("soft", tensors={"soft": vectors}, **{"base": base, **options})

    return make


@pytest.fixture
def prompts(tmp_path: Any, clock: SetClock) -> PromptStore:
    return PromptStore(ArtifactStore(str(tmp_path / "store"), clock=clock), clock=clock)
