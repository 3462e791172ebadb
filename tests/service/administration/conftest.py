"""The fixtures of the store's tests: places of any sort, a clock that tests set, small prompts."""

from __future__ import annotations

import os
from typing import Any

import pytest

from service.store.files.files import Files
from service.store.files.remote_files import open_files
from tests.service.administration.full_store import FullStore
from tests.service.store.conftest import base, clock, place, s3, soft

__all__ = ["base", "clock", "place", "s3", "soft"]


@pytest.fixture
def full(place: str, clock: Any, soft: Any) -> FullStore:
    """A store with objects of every sort, in a place of any sort."""
    return FullStore(open_files(place), clock=clock, soft=soft)


@pytest.fixture
def local(tmp_path: Any, clock: Any, soft: Any) -> FullStore:
    """A store with objects of every sort, on a disk."""
    return FullStore(open_files(str(tmp_path / "home")), clock=clock, soft=soft)


def age(files: Files, root: Any, *, days: float, now_s: float) -> None:
    """Make all files of a local store older."""
    for entry in files.walk():
        os.utime(root / entry.key, (now_s - days * 86400,) * 2)
