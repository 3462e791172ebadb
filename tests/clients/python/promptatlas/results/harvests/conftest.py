"""Harvests in both file formats, opened from a server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from promptatlas import Harvest

from tests.clients.python.promptatlas.fake_harvest import FakeHarvest, client_of
from tests.clients.python.promptatlas.fake_runs import ID

KINDS = ["safetensors", "parquet", "bfloat16"]


@pytest.fixture(params=KINDS)
def fake(request: pytest.FixtureRequest) -> FakeHarvest:
    if request.param == "parquet":
        pytest.importorskip("pyarrow")
    return FakeHarvest(request.param)


@pytest.fixture
def harvest(fake: FakeHarvest) -> Iterator[Harvest]:
    with client_of(fake) as client, client.harvest.open(ID) as opened:
        yield opened


@pytest.fixture
def plain() -> Iterator[Harvest]:
    with client_of(FakeHarvest()) as client, client.harvest.open(ID) as opened:
        yield opened
