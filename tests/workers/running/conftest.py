from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.queueing.embedded_redis import find_server
from tests.service.queueing.conftest import redis_server
from tests.workers.running.yard import Yard, open_yard

__all__ = ["redis_server"]


@pytest.fixture
def yard(tmp_path: Path) -> Iterator[Yard]:
    """A store and a Redis without workers."""
    _require_redis()
    with open_yard(tmp_path) as opened:
        yield opened


@pytest.fixture(scope="session")
def busy_yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    """With two workers, shared by all tests that leave two workers behind: a killed worker is replaced."""
    _require_redis()
    with open_yard(tmp_path_factory.mktemp("yard")) as opened:
        opened.start_workers(2)
        yield opened


def _require_redis() -> None:
    if find_server() is None:
        pytest.skip("no redis-server here")
