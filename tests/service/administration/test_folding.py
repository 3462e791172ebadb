"""Folded logs have the same events, in few files, whenever the folding is interrupted; runs go on after it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from service.administration.copies.backup import back_up
from service.administration.growth.retention import Retention
from service.administration.integrity.fsck import StoreCheck
from service.administration.inventory import Inventory
from service.settings.keeping import Keep
from service.store.artifacts.store import ArtifactStore
from service.store.files.files import LocalFiles
from service.store.housekeeping import Housekeeper
from service.store.idempotency import IdempotencyStore
from service.store.runs.log import chain, folding
from service.store.runs.log.chain import RunLog, curve_of
from service.store.runs.log.folding import Folding
from tests.service.administration.full_store import FullStore, answers, work
from tests.service.store.faults import Crash, FaultyFiles


def fold(store: FullStore) -> int:
    return Folding(store.artifacts, clock=store.clock).run()


def chunks(store: FullStore, run_id: str) -> list[int]:
    return RunLog(store.artifacts).first_ids(run_id)


def problems(files: Any, clock: Any) -> list[str]:
    return [finding.problem.what for finding in StoreCheck(files, clock=clock).run()]


def test_ended_runs_keep_two_chunks_and_all_events(full: FullStore) -> None:
    full.fill()
    expected = answers(full.files)
    curves = {run_id: curve_of(RunLog(full.artifacts), run_id) for run_id in (full.tuned, full.failed)}
    ended = [full.tuned, full.harvested, full.mapped, full.failed]
    before = {run_id: chunks(full, run_id) for run_id in (*ended, full.running, full.queued)}
    full.clock.advance(hours=23)
    assert fold(full) == 0
    full.clock.advance(hours=2)
    assert fold(full) == sum(len(before[run_id]) - 2 for run_id in ended) > 10
    for run_id in ended:
        assert chunks(full, run_id) == [1, before[run_id][-1]]
    assert [chunks(full, run_id) for run_id in (full.running, full.queued)] == [
        before[full.running],
        before[full.queued],
    ]
    assert answers(full.files) == expected
    assert {run_id: curve_of(RunLog(full.artifacts), run_id) for run_id in curves} == curves
    assert len(curves[full.tuned]) == 3
    assert problems(full.files, full.clock) == []
    assert fold(full) == 0
    # Events from any id on, as clients that follow a run read them.
    for after in range(before[full.tuned][-1] + 1):
        assert [event.id for event in full.runs.events(full.tuned, after=after)][:1] in ([after + 1], [])


def test_a_minute_is_read_once(local: FullStore) -> None:
    local.ended("tune")
    local.clock.advance(hours=25)
    first = Folding(local.artifacts, clock=local.clock)
    assert first.run() > 0
    later = local.ended("tune")
    local.clock.advance(hours=25)
    opened: list[str] = []
    original = first._changes.files
    first._changes.files = lambda minute: opened.append(minute) or original(minute)  # type: ignore[method-assign,func-returns-value]
    assert first.run() > 0
    assert chunks(local, later)[0] == 1
    # The last minute again, since it may have had more, and that of the second run.
    assert len(opened) == 2


def test_an_interrupted_folding_loses_nothing_and_is_finished(local: FullStore, tmp_path: Path) -> None:
    local.fill()
    expected = answers(local.files)
    local.clock.advance(hours=25)
    for at in range(1, 100):
        root = tmp_path / str(at)
        shutil.copytree(tmp_path / "home", root)
        files = LocalFiles(str(root))
        faulty: Any = FaultyFiles(files, at=at, mode="dies after")
        try:
            Folding(ArtifactStore("", files=faulty, clock=local.clock), clock=local.clock).run()
        except Crash:
            assert answers(files) == expected
            assert problems(files, local.clock) == []
            artifacts = ArtifactStore("", files=files, clock=local.clock)
            Folding(artifacts, clock=local.clock).run()
            assert len(RunLog(artifacts).first_ids(local.tuned)) == 2
            assert answers(files) == expected
            continue
        break
    assert at > 10


def test_a_folded_run_can_be_resumed_and_folded_again(local: FullStore) -> None:
    local.fill()
    local.clock.advance(hours=25)
    fold(local)
    before = local.runs.events(local.failed)
    local.runs.resume(local.failed)
    writer = local.runs.claim(local.failed, worker="w")
    work(writer)
    local.clock.advance(hours=1)
    assert fold(local) == 0
    writer.finish("succeeded")
    after = local.runs.events(local.failed)
    assert [event.id for event in after] == list(range(1, len(after) + 1))
    assert [event.data for event in after[: len(before)]] == [event.data for event in before]
    assert after[len(before) - 1].type == "status"
    local.clock.advance(hours=25)
    assert fold(local) > 0
    assert local.runs.events(local.failed) == after
    assert len(chunks(local, local.failed)) == 2


def test_backups_before_and_after_answer_like_the_store(local: FullStore, tmp_path: Path) -> None:
    local.fill()
    target = LocalFiles(str(tmp_path / "backup"))
    back_up(local.files, target, origin="/the/store")
    local.clock.advance(hours=25)
    fold(local)
    back_up(local.files, target, origin="/the/store")
    assert answers(target) == answers(local.files)
    assert problems(target, local.clock) == []
    assert len(list(Inventory(target).under(f"runs/{local.tuned}/events"))) == 2
    assert back_up(local.files, target, origin="/the/store").n_copied == 0


def test_a_damaged_chunk_stays_visible(local: FullStore, tmp_path: Path) -> None:
    local.fill()
    numbers = chunks(local, local.tuned)
    (tmp_path / "home" / "runs" / local.tuned / "events" / f"{numbers[2]:010d}.json").write_bytes(b"?")
    found = problems(local.files, local.clock)
    events = local.runs.events(local.tuned)
    local.clock.advance(hours=25)
    fold(local)
    assert chunks(local, local.tuned) == [1, numbers[2], numbers[3], numbers[-1]]
    assert local.runs.events(local.tuned) == events
    assert problems(local.files, local.clock) == found != []


def test_a_folded_log_expires_as_a_whole(local: FullStore) -> None:
    local.ended("tune")
    local.clock.advance(hours=25)
    fold(local)
    retention = Retention(local.artifacts, limits={"events": Keep(n_bytes=0)}, clock=local.clock)
    (expiry,) = retention.apply(retention.plan(Inventory(local.files)))
    assert len(chunks(local, expiry.run_id)) == 1


def test_notes_do_not_delay_it(local: FullStore) -> None:
    run_id = local.ended("tune")
    local.clock.advance(hours=25)
    local.runs.annotate(run_id, notes="good", tags=["kept"])
    events = local.runs.events(run_id)
    assert fold(local) > 3
    assert local.runs.events(run_id) == events
    assert local.runs.get(run_id)[1].tags == ("kept",)


@pytest.mark.parametrize("n_read", range(8))
def test_a_reader_who_listed_the_chunks_before_reads_every_event_once(local: FullStore, n_read: int) -> None:
    run_id = local.ended("tune")
    log = RunLog(local.artifacts)
    first_ids = log.first_ids(run_id)
    expected = [event for chunk in log.read(run_id, first_ids) for event in chunk.numbered()]
    local.clock.advance(hours=25)
    # Each batch is read after the one before it was used.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chain, "_BATCH_SIZE", 1)
        reader = log.read(run_id, first_ids)
        found = [event for _ in range(n_read) for event in next(reader).numbered()]
        assert fold(local) > 3
        found += [event for chunk in reader for event in chunk.numbered()]
    assert found == expected


def test_a_deleted_run_is_left_out(local: FullStore) -> None:
    run_id = local.ended("tune")
    local.runs.delete(run_id)
    local.clock.advance(hours=25)
    with capture_logs() as logs:
        assert fold(local) == 0
    assert logs == []


def test_chunks_have_a_bounded_size(local: FullStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "MAX_BYTES", 1500)
    run_id = local.ended("tune")
    events, before = local.runs.events(run_id), chunks(local, run_id)
    local.clock.advance(hours=25)
    assert 0 < fold(local) < len(before) - 2
    assert local.runs.events(run_id) == events


def test_the_sweep_folds_before_it_removes_the_changes(local: FullStore) -> None:
    run_id = local.ended("tune")
    local.clock.advance(days=9)
    keeper = Housekeeper(
        local.artifacts, idempotency=IdempotencyStore(local.artifacts, clock=local.clock), clock=local.clock
    )
    keeper.sweep()
    assert len(chunks(local, run_id)) == 2
    assert [name for name in local.artifacts.names("changes") if name.startswith("2")] == []
