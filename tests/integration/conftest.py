"""One service for all tests that leave it as it was, with two keys and little room, so that its limits can be met."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from tests.integration.running import Service, running_service
from tests.integration.tiny_model import save_tiny_model

KEY, READ_KEY = "all-of-it", "only-looking"
AUTH = {"Authorization": f"Bearer {KEY}"}


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    save_tiny_model(folder)
    return folder


@pytest.fixture(scope="session")
def service(model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(
        tmp_path_factory.mktemp("service"),
        models=f"tiny={model_path}",
        API_KEYS=f"me:admin:{_hash(KEY)},you:read:{_hash(READ_KEY)}",
        MAX_BATCH="4",
        MAX_WAITING="4",
        MAX_ROWS_PER_KEY="100",
        MAX_TIMEOUT_S="120",
        MAX_CAPTURE_BYTES=str(64 << 20),
    ) as started:
        started.wait_until_ready()
        yield started


@pytest.fixture
def http(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, headers=AUTH, timeout=120) as client:
        yield client


@pytest.fixture
def ai(service: Service) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client
