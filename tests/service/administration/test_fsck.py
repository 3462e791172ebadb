"""Every damage is found and named; a repair loses nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from service.administration.integrity.fsck import Finding, StoreCheck
from service.errors import DamagedArtifact, NotFound
from service.store.artifacts.sealed_records import seal
from tests.service.administration.full_store import FullStore, answers
from tests.service.store.faults import Interrupted


def check(store: FullStore, *, repair: bool = False) -> list[Finding]:
    return list(StoreCheck(store.files, clock=store.clock).run(repair=repair))


def content_of(store: FullStore, folder: str) -> str:
    """Key of the content of an artifact."""
    return next(entry.key for entry in store.files.walk() if entry.key.startswith(f"{folder}/_"))


def test_a_sound_store_has_no_problems(full: FullStore) -> None:
    full.fill()
    content = full.content()
    assert check(full) == []
    assert check(full, repair=True) == []
    assert full.content() == content


def flip(data: bytes) -> bytes:
    return data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]


def cut(data: bytes) -> bytes:
    return data[:-2]


@pytest.mark.parametrize("harm", [flip, cut, None])
@pytest.mark.parametrize(
    ("folder", "label"),
    [
        ("prompts/qa/versions/1", "prompt qa@1"),
        ("datasets/pairs", "dataset pairs"),
        ("runs/{tuned}/outputs/report.json", "artifact report.json of run {tuned}"),
        ("runs/{failed}/checkpoints/0", "checkpoint in slot 0 of run {failed}"),
    ],
)
def test_a_damaged_content_is_named_and_quarantined(
    local: FullStore, folder: str, label: str, harm: Callable[[bytes], bytes] | None
) -> None:
    local.fill()
    folder, label = (text.format(**vars(local)) for text in (folder, label))
    key = content_of(local, folder)
    before = local.content()
    if harm is None:
        local.files.remove(key)
    else:
        local.files.put(key, harm(before[key]))
    (finding,) = check(local)
    assert finding.problem.key == folder
    assert finding.problem.what.startswith(f"{label} is damaged")
    assert finding.problem.advice
    assert (finding.repaired, finding.is_cured) == (None, False)
    (repaired,) = check(local, repair=True)
    assert "quarantine" in str(repaired.repaired)
    assert not repaired.is_cured
    kept = {
        item.key.split("/", 2)[2]: local.files.read(item.key)
        for item in local.files.walk()
        if item.key.startswith("quarantine/")
    }
    assert kept[quote(f"{folder}/manifest.json", safe="")] == before[f"{folder}/manifest.json"]
    assert kept.get(quote(key, safe="")) == (None if harm is None else harm(before[key]))
    assert check(local) == []
    assert not [item for item in local.artifacts.names("quarantine") if item.startswith("_")]


def test_a_quarantined_version_is_not_found_and_its_number_not_used_again(local: FullStore) -> None:
    local.fill()
    key = content_of(local, "prompts/other/versions/1")
    local.files.put(key, b"?")
    with pytest.raises(DamagedArtifact):
        local.prompts.content(local.prompts.resolve("other"))
    check(local, repair=True)
    with pytest.raises(NotFound):
        local.prompts.resolve("other")
    assert local.prompts.create("other", prompt=local.soft(1))[0].version == 2


def test_a_quarantined_dataset_and_checkpoint_can_be_stored_again(local: FullStore) -> None:
    import io

    local.fill()
    local.files.put(content_of(local, "datasets/pairs"), b"?")
    for slot in ("0",):
        local.files.put(content_of(local, f"runs/{local.running}/checkpoints/{slot}"), b"?")
    assert len(check(local, repair=True)) == 2
    local.datasets.create("pairs", format="jsonl", stream=io.BytesIO(b'{"input":"c","target":"d"}\n'))
    assert local.writer.load_checkpoint() is None
    local.writer.save_checkpoint({"state.bin": b"1"})
    assert local.writer.load_checkpoint() == {"state.bin": b"1"}
    assert check(local) == []


Damage = Callable[[FullStore], str]


def alias_to_nothing(store: FullStore) -> str:
    store.files.put("prompts/qa/aliases/live.json", seal({"version": 7, "set_at": "x"}))
    return "alias qa@live points to version 7, which does not exist."


def alias_damaged(store: FullStore) -> str:
    store.files.put("prompts/qa/aliases/live.json", b"?")
    return "alias qa@live is damaged"


def run_manifest(store: FullStore) -> str:
    store.files.put(f"runs/{store.failed}/manifest.json", b"?")
    return f"run {store.failed}, manifest.json, is damaged"


def run_end(store: FullStore) -> str:
    last = store.artifacts.names(f"runs/{store.failed}/events")[-1]
    store.files.put(f"runs/{store.failed}/events/{last}", b"?")
    return f"run {store.failed}, events from {int(last[:10])}, is damaged"


def run_gap(store: FullStore) -> str:
    second, third = store.artifacts.names(f"runs/{store.failed}/events")[1:3]
    store.files.remove(f"runs/{store.failed}/events/{second}")
    return f"run {store.failed} is damaged: events from {int(second[:10])} to {int(third[:10]) - 1} are missing."


def run_without_events(store: FullStore) -> str:
    store.files.remove_folder(f"runs/{store.failed}/events")
    return f"run {store.failed} is damaged: its events are missing."


def manifest_of_another(store: FullStore) -> str:
    data = store.files.read("prompts/qa/versions/1/manifest.json")
    artifact = store.artifacts.get("prompts/other/versions/1", label="")
    assert artifact is not None
    record = json.loads(store.files.read("prompts/other/versions/1/manifest.json"))["record"]
    record["metadata"] = json.loads(data)["record"]["metadata"]
    store.files.put("prompts/other/versions/1/manifest.json", seal(record))
    return "prompt other@1 is damaged: its manifest is that of qa@1."


@pytest.mark.parametrize(
    "damage",
    [alias_to_nothing, alias_damaged, run_manifest, run_end, run_gap, run_without_events, manifest_of_another],
)
def test_other_damage_is_named_with_what_to_do(local: FullStore, damage: Damage) -> None:
    what = damage(local.fill())
    found = [finding.problem for finding in check(local)]
    assert any(what in problem.what for problem in found), found
    assert all(problem.advice and problem.key for problem in found)


def hash_entry(store: FullStore) -> str:
    store.files.remove_folder("prompt-hashes")
    return "index"


def hash_entry_damaged(store: FullStore) -> str:
    for entry in list(store.files.walk()):
        if entry.key.startswith("prompt-hashes/"):
            store.files.put(entry.key, b"?")
    return "index"


def unfinished_entries(store: FullStore) -> str:
    store.files.remove_folder("runs-unfinished")
    return "unfinished"


def end_hint(store: FullStore) -> str:
    store.files.put(f"runs/{store.running}/state.json", b"?")
    return "hint"


def end_hint_beyond(store: FullStore) -> str:
    store.files.put(f"runs/{store.running}/state.json", seal({"first_id": 999}))
    return "hint"


@pytest.mark.parametrize("damage", [hash_entry, hash_entry_damaged, unfinished_entries, end_hint, end_hint_beyond])
def test_hints_are_rebuilt(local: FullStore, damage: Damage) -> None:
    local.fill()
    before = answers(local.files)
    damage(local)
    assert check(local)
    assert all(finding.is_cured for finding in check(local, repair=True))
    assert check(local) == []
    assert answers(local.files) == before


@pytest.mark.parametrize("key", ["runs/{failed}/expired.json", "runs/{failed}/plan.json", "idempotency/{key}"])
def test_damaged_records_are_quarantined(local: FullStore, key: str) -> None:
    local.fill()
    first = local.artifacts.names("idempotency")[0]
    key = key.format(failed=local.failed, key=f"{first}/1.json")
    local.files.put(key, b"?")
    (finding,) = check(local, repair=True)
    assert (finding.problem.key, finding.is_cured) == (key, True)
    assert check(local) == []
    assert local.runs.expired(local.failed) == []


@pytest.mark.parametrize("event", ["deleted", "replaced"])
def test_a_store_in_use_is_not_taken_for_a_damaged_one(local: FullStore, event: str) -> None:
    """Between the manifest of an artifact and its content, that is deleted or replaced."""
    local.fill()

    class Changing(Interrupted):
        def __getattr__(self, name: str) -> Any:
            real = getattr(self._files, name)
            if name != "open":
                return real

            def call(key: str) -> Any:
                meanwhile, self._meanwhile = self._meanwhile, None
                if meanwhile is not None:
                    meanwhile()
                return real(key)

            return call

    def meanwhile() -> None:
        if event == "deleted":
            local.datasets.delete("pairs")
        else:
            folder = local.artifacts.names("datasets")
            assert folder == ["pairs"]
            local.writer.put_output("spec.json", b"newer")

    files = Changing(local.files, at=lambda *_: True, meanwhile=meanwhile)
    assert list(StoreCheck(files, clock=local.clock).run()) == []


def test_runs_whose_events_have_expired_are_sound(local: FullStore, tmp_path: Path) -> None:
    from service.store.runs.expiry import ExpiredPart, RunExpiry

    local.fill()
    part = ExpiredPart(part="events", n_bytes=1, expired_at="2026-11-24T12:00:00.000000Z")
    assert RunExpiry(local.artifacts, clock=local.clock).expire(local.failed, [part])
    assert check(local) == []
    local.runs.resume(local.failed)
    assert check(local) == []
