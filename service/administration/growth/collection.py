"""Garbage collection: files that nothing refers to, left by deletions and by processes that died."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from service.administration.inventory import Inventory, name_of
from service.errors import DamagedArtifact
from service.store.artifacts.clock import Clock, utc_now
from service.store.artifacts.stale_files import stale_keys
from service.store.artifacts.store import ArtifactStore
from service.store.files.files import TEMPORARY, Files
from service.store.idempotency import IdempotencyStore
from service.store.locked_folders import stale_scratch_folders
from service.store.prompts.versions import PromptVersions
from service.store.runs.ids import is_run_id, made_at

Reason = Literal[
    "temporary file",
    "content without a reference",
    "run without a record",
    "index entry without a run",
    "index entry without a prompt",
    "expired idempotency record",
    "scratch folder",
]

MIN_GRACE = timedelta(hours=1)
"""Younger files may belong to an upload or a run that is being stored."""

_BATCH_SIZE = 50


@dataclass(frozen=True, kw_only=True)
class Removal:
    """A file or folder that is to be removed. key: in the store; of a scratch folder its path on this host."""

    reason: Reason
    key: str
    n_bytes: int
    is_folder: bool = False


class Collection:
    """Finds and removes garbage; safe while services and workers use the store.

    Args:
        artifacts: The store.
        files: Its files.
        grace: Age from which a file without a reference is garbage, at least :data:`MIN_GRACE`.
        clock: Determines ages.
    """

    def __init__(self, artifacts: ArtifactStore, *, files: Files, grace: timedelta, clock: Clock = utc_now) -> None:
        self._artifacts = artifacts
        self._files = files
        self._versions = PromptVersions(artifacts)
        self._idempotency = IdempotencyStore(artifacts, clock=clock)
        self._before = clock() - max(grace, MIN_GRACE)

    def plan(self, inventory: Inventory) -> list[Removal]:
        """The garbage. inventory: a listing of the same store."""
        runs = list(self._runs(inventory))
        covered = tuple(f"{removal.key}/" for removal in runs)
        found = [*runs, *self._stale(inventory), *self._run_hints(inventory), *self._prompt_hints(inventory)]
        found += [
            _file("expired idempotency record", key, inventory)
            for key in self._idempotency.expired()
            if inventory.get(key)
        ]
        kept = [removal for removal in found if not removal.key.startswith(covered)] if covered else found
        return [*kept, *self._scratch()]

    def apply(self, plan: Sequence[Removal]) -> Iterator[Removal]:
        """Remove what a plan lists; yields each removal after it was done."""
        for removal in plan:
            if removal.reason == "scratch folder":
                shutil.rmtree(removal.key, ignore_errors=True)
            elif removal.is_folder:
                self._files.remove_folder(removal.key)
            elif removal.reason == "index entry without a prompt" and self._is_live(name_of(removal.key)):
                continue  # it was uploaded meanwhile
            else:
                self._files.remove(removal.key)
            yield removal

    def _stale(self, inventory: Inventory) -> Iterator[Removal]:
        entries = list(inventory.under(""))
        for key in stale_keys(self._files, entries=entries, before_s=self._before.timestamp()):
            is_temporary = name_of(key).startswith(TEMPORARY)
            yield _file("temporary file" if is_temporary else "content without a reference", key, inventory)

    def _runs(self, inventory: Inventory) -> Iterator[Removal]:
        """Folders of runs whose creation or deletion was interrupted."""
        run_ids = [run_id for run_id in inventory.names("runs") if is_run_id(run_id) and made_at(run_id) < self._before]
        for start in range(0, len(run_ids), _BATCH_SIZE):
            batch = {f"runs/{run_id}": f"run {run_id}" for run_id in run_ids[start : start + _BATCH_SIZE]}
            found = self._artifacts.get_many(batch)
            for folder in batch:
                record = found.get(folder)
                is_gone = record is None or (not isinstance(record, DamagedArtifact) and record.retired)
                if is_gone and self._is_old(inventory, folder):
                    yield Removal(
                        reason="run without a record", key=folder, n_bytes=inventory.n_bytes(folder), is_folder=True
                    )

    def _run_hints(self, inventory: Inventory) -> Iterator[Removal]:
        for entry in inventory.under("runs-unfinished"):
            run_id = name_of(entry.key).split(".", 1)[0]
            is_old = is_run_id(run_id) and made_at(run_id) < self._before
            if is_old and not self._artifacts.has_manifest(f"runs/{run_id}"):
                yield _file("index entry without a run", entry.key, inventory)

    def _prompt_hints(self, inventory: Inventory) -> Iterator[Removal]:
        for entry in inventory.under("prompt-hashes"):
            if _is_before(entry.modified_s, self._before) and not self._is_live(name_of(entry.key)):
                yield _file("index entry without a prompt", entry.key, inventory)

    def _scratch(self) -> Iterable[Removal]:
        for folder in stale_scratch_folders():
            n_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            yield Removal(reason="scratch folder", key=str(Path(folder)), n_bytes=n_bytes, is_folder=True)

    def _is_live(self, entry: str) -> bool:
        """Whether the version of an index entry ``name@3.json`` exists; damaged ones do."""
        name, _, number = entry.removesuffix(".json").partition("@")
        if not number.isdecimal():
            return True
        try:
            return self._versions.live(name, int(number)) is not None
        except DamagedArtifact:
            return True

    def _is_old(self, inventory: Inventory, folder: str) -> bool:
        return all(_is_before(entry.modified_s, self._before) for entry in inventory.under(folder))


def _is_before(modified_s: float | None, moment: datetime) -> bool:
    return modified_s is not None and modified_s < moment.timestamp()


def _file(reason: Reason, key: str, inventory: Inventory) -> Removal:
    entry = inventory.get(key)
    return Removal(reason=reason, key=key, n_bytes=0 if entry is None else entry.n_bytes)
