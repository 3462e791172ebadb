"""Many writers of one store, and writers that die: numbers stay unique, and every state is an old or a new one."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from service.errors import AtlasError, Conflict, NotFound
from service.store.artifacts.store import ArtifactStore
from service.store.files.files import FileEntry, Files, LocalFiles
from service.store.prompts.store import PromptStore

CHILD = """
import sys, numpy as np
from service.store.artifacts.store import ArtifactStore
from service.store.prompts.checks import BaseShape
from service.store.prompts.native_format import make_prompt
from service.store.prompts.store import PromptStore
base = BaseShape(name="tiny", revision="rev-1", n_layers=3, d_model=7, n_kv_heads=2, d_head=5, n_positions=31)
prompts = PromptStore(ArtifactStore(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for i in range(20):
    prompt = make_prompt("soft", tensors={"soft": np.full((4, 7), float(sys.argv[2]) + i)}, base=base)
    print(prompts.create("qa", prompt=prompt)[0].version, flush=True)
"""


def in_threads(calls: list[Callable[[], Any]]) -> list[Any]:
    """Results of ``calls``, all let go at once."""
    results: list[Any] = [None] * len(calls)
    gate = threading.Barrier(len(calls))

    def work(i: int) -> None:
        gate.wait()
        results[i] = calls[i]()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize("url", ["local", "memory://at-once"])
def test_threads_uploading_one_name_get_different_versions(tmp_path: Path, soft: Any, url: str) -> None:
    prompts = PromptStore(ArtifactStore(str(tmp_path) if url == "local" else f"{url}-{tmp_path.name}"))
    made = in_threads([partial(prompts.create, "qa", prompt=soft(seed)) for seed in range(12)])
    assert sorted(manifest.version for manifest, _ in made) == list(range(1, 13))
    for manifest, is_new in made:
        assert is_new
        assert prompts.load(prompts.resolve(manifest.ref)).sha256 == manifest.sha256
        assert prompts.resolve(manifest.sha256) == manifest


def test_threads_uploading_one_content_get_one_version(prompts: PromptStore, soft: Any) -> None:
    prompts.create("qa", prompt=soft(0))
    made = in_threads([lambda: prompts.create("qa", prompt=soft(1))] * 12)
    assert {manifest.version for manifest, _ in made} == {2}
    assert sum(is_new for _, is_new in made) == 1
    assert prompts.load(prompts.resolve("qa")).sha256 == soft(1).sha256


def test_processes_uploading_one_name_get_different_versions(tmp_path: Path) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD, str(tmp_path), str(i * 1000)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    versions = [int(line) for child in children for line in child.communicate(timeout=120)[0].split()]
    assert sorted(versions) == list(range(1, 41))
    assert PromptStore(ArtifactStore(str(tmp_path))).resolve("qa").version == 40


class Interrupted:
    """Files that call ``meanwhile`` once, just before the first call that ``at`` agrees to."""

    def __init__(self, files: Files, *, at: Callable[[str, str], bool], meanwhile: Callable[[], Any]) -> None:
        self._files = files
        self._at = at
        self._meanwhile: Callable[[], Any] | None = meanwhile

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._files, name)
        if name not in ("put", "create", "remove", "names"):
            return real

        def call(key: str, *args: Any) -> Any:
            meanwhile = self._meanwhile
            if meanwhile is not None and self._at(name, key):
                self._meanwhile = None
                meanwhile()
            return real(key, *args)

        return call


@pytest.fixture
def interrupted(tmp_path: Path) -> Callable[..., PromptStore]:
    def make(**options: Any) -> PromptStore:
        files: Any = Interrupted(LocalFiles(str(tmp_path / "store")), **options)
        return PromptStore(ArtifactStore("", files=files))

    return make


def test_who_loses_a_number_takes_the_next(prompts: PromptStore, soft: Any, interrupted: Any) -> None:
    late = interrupted(at=lambda how, key: how == "create", meanwhile=lambda: prompts.create("qa", prompt=soft(1)))
    manifest, is_new = late.create("qa", prompt=soft(2))
    assert (manifest.version, is_new) == (2, True)
    assert prompts.load(prompts.resolve("qa@1")).sha256 == soft(1).sha256
    # The loser's hint to qa@1 is still there, and leads nobody astray.
    assert prompts.resolve(soft(2).sha256).version == 2


def test_who_loses_a_number_to_the_same_content_takes_that(prompts: PromptStore, soft: Any, interrupted: Any) -> None:
    late = interrupted(at=lambda how, key: how == "create", meanwhile=lambda: prompts.create("qa", prompt=soft(1)))
    manifest, is_new = late.create("qa", prompt=soft(1))
    assert (manifest.version, is_new) == (1, False)
    assert prompts.resolve(manifest.sha256).version == 1


def test_the_same_content_committed_between_the_two_looks_is_found(
    prompts: PromptStore, soft: Any, interrupted: Any
) -> None:
    looks = []

    def is_second_look(how: str, key: str) -> bool:
        looks.append(key)
        return len(looks) == 2

    late = interrupted(at=is_second_look, meanwhile=lambda: prompts.create("qa", prompt=soft(1)))
    manifest, is_new = late.create("qa", prompt=soft(1))
    assert len(looks) >= 2
    assert (manifest.version, is_new) == (1, False)


def test_a_number_deleted_meanwhile_is_not_taken(prompts: PromptStore, soft: Any, interrupted: Any) -> None:
    def meanwhile() -> None:
        prompts.create("qa", prompt=soft(1))
        prompts.delete("qa", version=1)

    late = interrupted(at=lambda how, key: how == "create", meanwhile=meanwhile)
    assert late.create("qa", prompt=soft(2))[0].version == 2


def test_an_alias_set_during_a_deletion_stops_it(prompts: PromptStore, soft: Any, interrupted: Any) -> None:
    prompts.create("qa", prompt=soft(1))
    late = interrupted(
        at=lambda how, key: key.endswith("/manifest.json"),
        meanwhile=lambda: prompts.set_alias("qa", alias="live", version=1),
    )
    with pytest.raises(Conflict, match="qa@live"):
        late.delete("qa", version=1)
    assert prompts.load(prompts.resolve("qa@live")).sha256 == soft(1).sha256


@pytest.mark.parametrize("before", [None, 2])
def test_a_deletion_during_the_setting_of_an_alias_undoes_it(
    prompts: PromptStore, soft: Any, interrupted: Any, before: int | None
) -> None:
    prompts.create("qa", prompt=soft(1))
    prompts.create("qa", prompt=soft(2))
    if before is not None:
        prompts.set_alias("qa", alias="live", version=before)
    late = interrupted(at=lambda how, key: "/aliases/" in key, meanwhile=lambda: prompts.delete("qa", version=1))
    with pytest.raises(NotFound, match="no version 1"):
        late.set_alias("qa", alias="live", version=1)
    assert prompts.aliases("qa") == ({} if before is None else {"live": before})


class Crash(BaseException):
    """The process dies here."""


class Dying:
    """Files on which the writing process dies just before its nth write; nothing works for it afterwards."""

    def __init__(self, files: Files, *, at: int) -> None:
        self.n_writes = 0
        self._files = files
        self._at = at

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._files, name)
        if name not in ("put", "create", "remove"):
            return real

        def call(*args: Any) -> Any:
            self.n_writes += 1
            if self.n_writes >= self._at:
                raise Crash
            return real(*args)

        return call


def snapshot(prompts: PromptStore) -> dict[str, Any]:
    """All that can be seen of the name qa, with every content read."""
    try:
        manifests = prompts.list_versions("qa").items
    except NotFound:
        return {}
    seen: dict[str, Any] = {"aliases": prompts.aliases("qa")}
    for manifest in manifests:
        assert prompts.resolve(manifest.sha256).sha256 == manifest.sha256
        seen[manifest.ref] = prompts.load(manifest).sha256
    return seen


def create(prompts: PromptStore, make: Any) -> None:
    prompts.create("qa", prompt=make(3))


def set_alias(prompts: PromptStore, make: Any) -> None:
    prompts.set_alias("qa", alias="live", version=2)


def delete(prompts: PromptStore, make: Any) -> None:
    prompts.delete("qa", version=2)


def delete_alias(prompts: PromptStore, make: Any) -> None:
    prompts.delete_alias("qa", alias="live")


@pytest.mark.parametrize("step", [create, set_alias, delete, delete_alias])
def test_a_crash_between_any_two_steps_leaves_the_old_or_the_new(tmp_path: Path, soft: Any, step: Any) -> None:
    later = datetime.now(timezone.utc) + timedelta(days=2)
    states = []
    for at in range(1, 20):
        files = LocalFiles(str(tmp_path / str(at)))
        artifacts = ArtifactStore("", files=files, clock=lambda: later)
        prompts = PromptStore(artifacts)
        prompts.create("qa", prompt=soft(1))
        prompts.create("qa", prompt=soft(2))
        prompts.set_alias("qa", alias="live", version=1)
        old = snapshot(prompts)
        dying: Any = Dying(files, at=at)
        try:
            step(PromptStore(ArtifactStore("", files=dying)), soft)
            finished = True
        except Crash:
            finished = False
        state = snapshot(prompts)
        states.append(state)
        artifacts.sweep()
        assert snapshot(prompts) == state
        if not finished and state == old:
            step(prompts, soft)
        elif not finished and step is delete:
            with pytest.raises(NotFound):
                step(prompts, soft)
        assert n_contents(files) == len(snapshot(prompts)) - 1
        if finished:
            break
    new = states[-1]
    assert new != old
    assert all(state in (old, new) for state in states)
    assert states[0] == old


def n_contents(files: Files) -> int:
    entries: list[FileEntry] = list(files.walk())
    return sum(entry.key.endswith("_prompt.safetensors") for entry in entries)


def test_a_disk_that_fails_says_so_and_the_store_goes_on(prompts: PromptStore, soft: Any, tmp_path: Path) -> None:
    prompts.create("qa", prompt=soft(1))
    (tmp_path / "store" / "prompt-hashes").rename(tmp_path / "away")
    (tmp_path / "store" / "prompt-hashes").write_bytes(b"in the way")
    with pytest.raises(AtlasError, match="The store could not be written"):
        prompts.create("qa", prompt=soft(2))
    assert prompts.resolve("qa").version == 1
