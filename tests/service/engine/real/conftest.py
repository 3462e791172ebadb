"""The model of `make smollm2`, loaded once. Its tests are skipped, with the reason, where the file or ``gguf`` is missing."""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from demo.models.smollm2 import SHA256
from service.engine.model.hosted_model import HostedModel
from tests.service.engine.real.real_world import VARIABLE, RealWorld, load_plain, model_file


@pytest.fixture(scope="session")
def file() -> Path:
    path = model_file()
    if not path.is_file():
        pytest.skip(f"no pretrained model at {path}: make smollm2, or set {VARIABLE}")
    if find_spec("gguf") is None:
        pytest.skip("the package gguf is not installed")
    assert hashlib.sha256(path.read_bytes()).hexdigest() == SHA256, f"{path} is another file than make smollm2 fetches"
    return path


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def plain(file: Path) -> Any:
    return load_plain(file)


@pytest.fixture(scope="session")
def hosted(file: Path, cache: Path) -> HostedModel:
    return HostedModel.load("smollm2", str(file), device="cpu", dtype="float32", cache=cache)


@pytest.fixture(scope="session")
def converted(hosted: HostedModel, cache: Path) -> Path:
    """The folder that the engine's float32 model was converted to."""
    (folder,) = (path for path in (cache / "gguf").iterdir() if path.is_dir())
    return folder


@pytest.fixture(scope="session")
def world(plain: Any, hosted: HostedModel) -> RealWorld:
    return RealWorld(plain=plain, hosted=hosted)
