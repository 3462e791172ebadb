"""What a run keeps, its outputs and checkpoints, and what is left of it when files are damaged or missing."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import pytest

from service.errors import DamagedArtifact, InvalidRequest, NotFound
from service.store.artifacts.store import ArtifactStore
from service.store.files.remote_files import open_files
from service.store.runs.outputs import Outputs
from service.store.runs.store import RunStore
from tests.service.store.run_steps import begin


def test_outputs(runs: RunStore, tmp_path: Path) -> None:
    run_id, writer = begin(runs)
    big = tmp_path / "big"
    big.write_bytes(bytes(range(256)) * 9000)
    paths = ["report.html", "draws/qa@1.safetensors", "odd/[a]*?%2F ü.txt"]
    for path in paths:
        writer.put_output(path, path.encode())
    output = writer.put_output("report.html", big)
    assert (output.n_bytes, output.sha256) == (256 * 9000, hashlib.sha256(big.read_bytes()).hexdigest())
    assert [found.path for found in runs.outputs(run_id)] == sorted(paths)
    assert output in runs.outputs(run_id)
    for path in paths[1:]:
        assert runs.read_output(run_id, path) == path.encode() == writer.read_output(path)
    file, found = runs.open_output(run_id, "report.html")
    with file:
        assert (b"".join(file), found) == (big.read_bytes(), output)
    assert writer.read_output("none") is None
    for path in ("none", "../manifest.json", "draws", "a//b", ""):
        with pytest.raises(NotFound, match="has no artifact"):
            runs.read_output(run_id, path)


def test_of_several_that_keep_the_same_output_one_is_the_first(runs: RunStore, place: str) -> None:
    run_id, _ = begin(runs)
    outputs = Outputs(ArtifactStore(place), run_id=run_id)
    assert outputs.find("shards/0") is None
    first = outputs.put_once("shards/0", b"the same")
    assert outputs.put_once("shards/0", b"another") == first == outputs.find("shards/0")
    assert runs.read_output(run_id, "shards/0") == b"the same"
    damage(place, "outputs/shards%2F0/manifest.json", data=b"{")
    assert outputs.find("shards/0") is None
    assert outputs.put_once("shards/0", b"again").n_bytes == 5
    assert runs.read_output(run_id, "shards/0") == b"again"
    outputs.remove("shards/0")
    assert outputs.put_once("shards/0", b"once more").n_bytes == 9
    with pytest.raises(InvalidRequest):
        outputs.put_once("../a", b"")


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", "../a", "a/./b", "...", "a\nb", "x" * 201, "ü" * 40])
def test_what_no_output_is_called(local: RunStore, path: str) -> None:
    _, writer = begin(local)
    with pytest.raises(InvalidRequest, match="The path of an artifact"):
        writer.put_output(path, b"")


def test_of_checkpoints_two_are_kept(runs: RunStore, place: str) -> None:
    run_id, writer = begin(runs)
    assert writer.load_checkpoint() is None
    for number in range(1, 6):
        writer.save_checkpoint({"state": b"%d" % number, "a/b": b"x"})
        assert writer.load_checkpoint() == {"state": b"%d" % number, "a/b": b"x"}
        # Told by the store before any flush.
        assert runs.get(run_id)[1].has_checkpoint
    kept = [entry.key for entry in open_files(place).walk() if "/checkpoints/" in entry.key]
    assert len(kept) == 6


def damage(place: str, ending: str, *, data: bytes) -> None:
    """Break every file whose name ends so and that holds ``data``."""
    files = open_files(place)
    hit = [entry.key for entry in files.walk() if entry.key.endswith(ending) and data in files.read(entry.key)]
    assert hit
    for key in hit:
        files.put(key, b"broken")


def test_a_damaged_checkpoint_is_passed_over_and_written_over(
    local: RunStore, root: str, caplog: pytest.LogCaptureFixture
) -> None:
    run_id, writer = begin(local)
    for number in (1, 2, 3):
        writer.save_checkpoint({"state": b"number %d" % number})
    damage(root, "_state", data=b"number 3")
    local.note_death(run_id, attempt=1, reason="gone", max_attempts=3)
    second = local.claim(run_id, worker="w")
    with caplog.at_level(logging.WARNING):
        assert second.load_checkpoint() == {"state": b"number 2"}
    assert f"checkpoint 3 of run {run_id} is damaged" in caplog.text
    # The sound one stays when the next is written.
    second.save_checkpoint({"state": b"number 4"})
    damage(root, "_state", data=b"number 4")
    assert second.load_checkpoint() == {"state": b"number 2"}
    damage(root, "checkpoints/1/manifest.json", data=b"")
    damage(root, "checkpoints/0/manifest.json", data=b"")
    assert second.load_checkpoint() is None
    second.save_checkpoint({"state": b"new"})
    assert second.load_checkpoint() == {"state": b"new"}


def test_damaged_runs_are_passed_over_in_lists_and_named_alone(
    local: RunStore, root: str, caplog: pytest.LogCaptureFixture
) -> None:
    ids = [local.create("tune", spec={"n": n}).id for n in range(3)]
    damage(root, f"{ids[0]}/manifest.json", data=b"")
    damage(root, f"{ids[1]}/events/0000000001.json", data=b"")
    with caplog.at_level(logging.WARNING):
        assert [record.id for record, _ in local.list_runs().items] == [ids[2]]
        assert [record.id for record, _ in local.unfinished()] == [ids[2]]
    for run_id in ids[:2]:
        assert f"run {run_id}" in caplog.text
        for call in (local.get, local.events, local.request_cancel):
            with pytest.raises(DamagedArtifact, match=f"run {run_id}, .* is damaged"):
                call(run_id)


def test_a_damaged_chunk_hides_its_own_events_only(local: RunStore, root: str) -> None:
    run_id, writer = begin(local)
    for step in (1, 2, 3):
        writer.emit("metric", {"step": step})
        writer.flush()
    damage(root, f"{run_id}/events/0000000004.json", data=b"")
    assert [event.id for event in local.events(run_id)] == [1, 2, 3, 5]
    assert [point["step"] for point in local.metrics(run_id)] == [1, 3]
    writer.finish("succeeded")
    assert local.get(run_id)[1].status == "succeeded"


@pytest.mark.parametrize("hint", [None, b"broken", "first", "beyond"])
def test_the_hint_is_only_a_hint(local: RunStore, root: str, hint: Any) -> None:
    run_id, writer = begin(local)
    key = f"runs/{run_id}/state.json"
    artifacts = ArtifactStore(root)
    for step in range(1, 12):
        writer.emit("metric", {"step": step})
        writer.flush()
    writer.finish("succeeded")
    artifacts.remove_record(key)
    if isinstance(hint, bytes):
        open_files(root).put(key, hint)
    if isinstance(hint, str):
        artifacts.put_record(key, {"first_id": 1 if hint == "first" else 99})
    assert local.get(run_id)[1].status == "succeeded"
    assert local.list_runs(status="succeeded").items[0][0].id == run_id
    assert local.events(run_id, after=12)[-1].type == "done"


def test_a_run_whose_creation_died_is_nobody_and_cleaned_up_later(local: RunStore, root: str, clock: Any) -> None:
    run_id = local.create("tune", spec={}).id
    open_files(root).remove(f"runs/{run_id}/manifest.json")
    assert local.unfinished() == []
    assert local.list_runs().items == []
    with pytest.raises(NotFound):
        local.get(run_id)
    assert len(list(open_files(root).walk())) == 4
    clock.advance(hours=2)
    assert local.unfinished() == []
    assert [entry for entry in open_files(root).walk() if not entry.key.startswith("changes/")] == []


def test_a_spec_that_is_no_json_leaves_nothing(local: RunStore, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        local.create("tune", spec={"lr": float("nan")})
    assert not (tmp_path / "local").exists()


def test_the_store_lies_open(tmp_path: Path, clock: Any) -> None:
    """The layout that the documentation promises."""
    root = tmp_path / "open"
    runs = RunStore(ArtifactStore(str(root)), clock=clock)
    run_id, writer = begin(runs)
    writer.save_checkpoint({"state": b""})
    writer.put_output("draws/qa@1.safetensors", b"")
    folders = {str(path.parent.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    at = f"runs/{run_id}"
    assert folders == {
        "changes/20261124T1200",
        "runs-unfinished",
        at,
        f"{at}/events",
        f"{at}/checkpoints/0",
        f"{at}/outputs/draws%2Fqa%401.safetensors",
    }
