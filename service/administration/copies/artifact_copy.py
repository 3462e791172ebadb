"""Copying of single artifacts and runs: an artifact is complete in the destination, or absent."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from contextlib import suppress

from service.administration.copies.destination import Destination
from service.administration.integrity.artifacts import label_of
from service.errors import DamagedArtifact
from service.store.artifacts.manifests import MANIFEST, Artifact, artifact_from
from service.store.artifacts.sealed_records import seal, unseal
from service.store.artifacts.store import ArtifactStore
from service.store.files.files import Files
from service.store.prompts.versions import hint_key, manifest_in
from service.store.runs.log.chain import RunLog
from service.store.runs.records import Chunk
from service.store.runs.unfinished import unfinished_key

_MAX_TRIES = 5
_BATCH_SIZE = 64


class ArtifactCopy:
    """Copies artifacts and logs from a store that services may use meanwhile.

    Args:
        source: The store.
        destination: Where they are copied to.
    """

    def __init__(self, source: Files, *, destination: Destination) -> None:
        self._source = source
        self._log = RunLog(ArtifactStore("", files=source))
        self._destination = destination

    def copy(self, folder: str) -> Artifact | None:
        """Copy an artifact: its contents, then its manifest.

        Returns:
            The artifact as it is in the destination now; a withdrawn one is returned and not copied. If it is damaged, which
            is a problem, an intact copy from before stays and is returned. None if there is none.
        """
        key, label = f"{folder}/{MANIFEST}", label_of(folder)
        for _ in range(_MAX_TRIES):
            try:
                data = self._source.read(key)
                artifact = artifact_from(data, folder=folder, label=label)
                if artifact.retired:
                    return artifact
                if self._differs(key, data):
                    self._destination.problem(f"{label} exists or was deleted here, with other content: not restored.")
                    return None
                damaged = self._copy_contents(artifact)
                if damaged is None and folder.startswith("prompts/"):
                    # Before the manifest, so that every version can be found by its hash.
                    self._put_hint(artifact)
            except FileNotFoundError:
                # Removed, or replaced by an artifact with other contents: the new manifest tells.
                if self._is_gone(key):
                    return None
                continue
            except DamagedArtifact as error:
                return self._leave(folder, error.detail)
            if damaged is not None:
                return self._leave(folder, f"{label} is damaged: the bytes of {damaged} do not match their hash.")
            if self._destination.put(key, data):
                return artifact
        return self._leave(folder, f"{label} is damaged: contents are missing.")

    def copy_log(self, run_id: str) -> Chunk | None:
        """Copy the events of a run up to now; the last chunk, None if it is missing or damaged, which is a problem."""
        for _ in range(_MAX_TRIES):
            first_ids = self._log.first_ids(run_id)
            try:
                if first_ids and (last := self._log.at(run_id, first_ids[-1])) is not None:
                    if self._copy_chunks(run_id, first_ids):
                        return last
                    continue
            except DamagedArtifact as error:
                self._leave(f"runs/{run_id}", error.detail)
                return None
        self._leave(f"runs/{run_id}", f"run {run_id} is damaged: its events are missing.")
        return None

    def _copy_contents(self, artifact: Artifact) -> str | None:
        """Copy all contents; the name of the first damaged one."""
        for name, stored in artifact.files.items():
            if not self._destination.put_content(self._source, f"{artifact.folder}/{stored.key}", stored=stored):
                return name
        return None

    def _put_hint(self, artifact: Artifact) -> None:
        manifest = manifest_in(artifact)
        self._destination.put(hint_key(manifest), seal({"ref": manifest.ref}))

    def _copy_chunks(self, run_id: str, first_ids: list[int]) -> bool:
        """Copy chunks of a log; False if one was removed meanwhile. Damaged ones are problems and are not copied."""
        keys = [f"runs/{run_id}/events/{first_id:010d}.json" for first_id in first_ids]
        merged = self._merged(run_id, keys)
        for start in range(0, len(keys), _BATCH_SIZE):
            batch = keys[start : start + _BATCH_SIZE]
            missing = [key for key in batch if key in merged or self._destination.present.get(key) is None]
            found = self._source.read_many(missing)
            if len(found) < len(missing):
                return False
            self._note_unfinished(run_id, found)
            for key in batch:
                if key not in found:
                    self._destination.unchanged(key)
                elif self._is_intact(key, found[key], run_id=run_id):
                    self._destination.put(key, found[key])
        return True

    def _merged(self, run_id: str, keys: Sequence[str]) -> set[str]:
        """Chunks that may contain chunks of the destination which are gone from the source: those before each gap."""
        known = set(keys)
        gone = [
            entry.key for entry in self._destination.present.under(f"runs/{run_id}/events") if entry.key not in known
        ]
        return {keys[place - 1] for key in gone if (place := bisect_left(keys, key))}

    def _note_unfinished(self, run_id: str, chunks: Mapping[str, bytes]) -> None:
        """Note a run of an earlier backup as unfinished, before chunks are added with which it is; they may be the last ones.

        Not in a service's store, where its log is not added to: its record is not there.
        """
        if not self._destination.present.get(f"runs/{run_id}/{MANIFEST}"):
            return
        for key, data in chunks.items():
            with suppress(DamagedArtifact):
                state = Chunk.from_json(unseal(data, label=key), label=key).state
                if not state.has_ended:
                    self._destination.files.put(unfinished_key(run_id, state.queued_id), seal({"run_id": run_id}))

    def _is_intact(self, key: str, data: bytes, *, run_id: str) -> bool:
        try:
            unseal(data, label=f"run {run_id}, {key.rpartition('/')[2]},")
        except DamagedArtifact as error:
            self._destination.problem(error.detail)
            return False
        return True

    def _differs(self, key: str, data: bytes) -> bool:
        """Whether the destination has another manifest, which must stay."""
        if self._destination.replaces:
            return False
        return self._destination.files.read_many([key]).get(key, data) != data

    def _is_gone(self, key: str) -> bool:
        return key not in self._source.read_many([key])

    def _leave(self, folder: str, problem: str) -> Artifact | None:
        """Report a damaged artifact; the intact copy from before, which stays, or None."""
        self._destination.problem(problem)
        self._destination.keep_folder(folder)
        key = f"{folder}/{MANIFEST}"
        data = self._destination.files.read_many([key]).get(key)
        if data is None:
            return None
        try:
            before = artifact_from(data, folder=folder, label=label_of(folder))
        except DamagedArtifact:
            return None
        return None if before.retired else before
