"""The store is swept now and then, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from service.errors import Unavailable
from service.store.artifacts.store import ArtifactStore
from service.store.files.files import TEMPORARY
from service.store.housekeeping import EVERY_S, FIRST_AFTER_S, Housekeeper
from service.store.idempotency import IdempotencyStore
from service.store.index.changes import Changes, minute_of
from service.store.index.entries import NameEntry


def keeper(folder: Path, **others: object) -> Housekeeper:
    artifacts = ArtifactStore(str(folder))
    return Housekeeper(artifacts, idempotency=IdempotencyStore(artifacts), **others)  # type: ignore[arg-type]


def test_a_sweep_removes_what_a_dead_writer_left_and_nothing_else(tmp_path: Path) -> None:
    artifacts = ArtifactStore(str(tmp_path))
    kept = artifacts.create("things/one", label="thing one", files={"a": b"kept"}, metadata={})
    left = tmp_path / "things" / "one" / "_0123456789abcdef_a"
    left.write_bytes(b"left")
    os.utime(left, (1, 1))
    assert keeper(tmp_path).sweep() == 1
    assert not left.exists()
    assert artifacts.read(kept, "a") == b"kept"


def test_a_store_that_is_away_is_left_for_the_next_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: object, **_options: object) -> int:
        raise Unavailable("The store could not be read.", retry_after_s=1)

    monkeypatch.setattr(ArtifactStore, "sweep", away)
    assert keeper(tmp_path).sweep() == 0


def test_it_waits_before_the_first_sweep_and_between_sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    sweeps: list[int] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 4:
            raise asyncio.CancelledError

    def sweep(_: Housekeeper) -> int:
        sweeps.append(len(waits))
        return 0

    monkeypatch.setattr(Housekeeper, "sweep", sweep)
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(keeper(tmp_path, sleep=sleep).run_beside())
    assert waits == [FIRST_AFTER_S, EVERY_S, EVERY_S, EVERY_S]
    assert sweeps == [1, 2, 3]


def test_one_process_of_all_sweeps_in_each_period(tmp_path: Path) -> None:
    now = datetime.now(timezone.utc)
    first, second = (keeper(tmp_path, clock=lambda: now) for _ in range(2))

    def leave() -> None:
        path = tmp_path / "things" / f"{TEMPORARY}0011223344556677"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"left")
        os.utime(path, (1, 1))

    leave()
    assert (second.sweep(), first.sweep()) == (1, 0)
    leave()
    now += timedelta(minutes=49)
    assert (second.sweep(), first.sweep()) == (0, 0)
    now += timedelta(minutes=1)
    assert (first.sweep(), second.sweep()) == (1, 0)
    assert len(os.listdir(tmp_path / "leases")) == 1


def test_announcements_of_changes_are_removed_after_two_days(tmp_path: Path) -> None:
    artifacts = ArtifactStore(str(tmp_path))
    old = datetime.now(timezone.utc) - timedelta(hours=49)
    for moment in (old, old + timedelta(hours=3)):
        Changes(artifacts, clock=lambda now=moment: now).note(NameEntry(noun="prompt", name="qa"))  # type: ignore[misc]
    assert keeper(tmp_path).sweep() == 1
    left = [name for name in artifacts.names("changes") if name != "folded.json"]
    assert left == [minute_of(old + timedelta(hours=3))]
