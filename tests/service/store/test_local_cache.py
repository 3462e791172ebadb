from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from service.store.local_cache import LocalCache


def used_at(folder: Path, name: str, *, second: int) -> None:
    os.utime(folder / name, (second, second))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "cache"


def test_the_least_recently_used_contents_go_first(folder: Path) -> None:
    cache = LocalCache(folder, max_bytes=30)
    for second, name in enumerate("abc"):
        cache.put(name, name.encode() * 10)
        used_at(folder, name, second=second)
    assert cache.get("a") == b"a" * 10  # used now, so that b is the oldest
    cache.put("d", b"d" * 15)
    assert sorted(path.name for path in folder.iterdir()) == ["a", "d"]
    assert (cache.get("b"), cache.get("c")) == (None, None)


def test_a_content_over_the_limit_is_not_kept(folder: Path) -> None:
    cache = LocalCache(folder, max_bytes=30)
    cache.put("a", b"a" * 31)
    assert cache.get("a") is None
    cache.put("a", b"a" * 30)
    assert cache.get("a") == b"a" * 30


def test_a_folder_that_cannot_be_used_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    cache = LocalCache(tmp_path / "file" / "cache", max_bytes=30)
    cache.put("a", b"a")
    assert cache.get("a") is None
    cache.remove("a")


def test_only_this_user_may_read_the_folder(folder: Path) -> None:
    LocalCache(folder, max_bytes=30).put("a", b"a")
    assert folder.stat().st_mode & 0o777 == 0o700


def test_files_of_writers_that_died_are_removed_when_they_are_old(folder: Path) -> None:
    cache = LocalCache(folder, max_bytes=30)
    cache.put("a", b"a")
    for name in (".tmp-old", ".tmp-new"):
        (folder / name).write_bytes(b"x" * 100)
    used_at(folder, ".tmp-old", second=1)
    cache.put("b", b"b")
    assert sorted(path.name for path in folder.iterdir()) == [".tmp-new", "a", "b"]


def test_readers_find_whole_files_only_while_others_write_and_remove(folder: Path) -> None:
    caches = [LocalCache(folder, max_bytes=250_000) for _ in range(4)]
    wrong: list[bytes] = []

    def use(cache: LocalCache, seed: int) -> None:
        for i in range(60):
            name = str((i * 7 + seed) % 5)
            data = cache.get(name)
            if data is not None and data != name.encode() * 100_000:
                wrong.append(data)
            cache.put(name, name.encode() * 100_000)

    threads = [threading.Thread(target=use, args=(cache, seed)) for seed, cache in enumerate(caches)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    caches[0].put("9", b"9")
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 250_000
