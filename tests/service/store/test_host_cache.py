"""The folder of caches of this host."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.store.host_cache import host_cache_folder


@pytest.mark.parametrize("home", ["/data/atlas", "file:///data/atlas", "local:///data/atlas"])
def test_a_local_store_has_it(home: str) -> None:
    assert host_cache_folder(home, cache=None) == Path("/data/atlas/cache")


@pytest.mark.parametrize("home", ["s3://bucket/folder", "memory://store"])
def test_of_a_remote_store_it_is_the_user_s(home: str) -> None:
    assert host_cache_folder(home, cache=None, environ={"XDG_CACHE_HOME": "/c"}) == Path("/c/promptatlas")
    expected = Path.home() / ".cache" / "promptatlas"
    assert host_cache_folder(home, cache=None, environ={}) == expected
    assert host_cache_folder(home, cache=None, environ={"XDG_CACHE_HOME": ""}) == expected


def test_the_setting_comes_first() -> None:
    assert host_cache_folder("/data/atlas", cache="/fast/disk") == Path("/fast/disk")
    assert host_cache_folder("/data/atlas", cache="~/disk") == Path.home() / "disk"
