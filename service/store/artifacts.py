"""Artifacts: folders of immutable files that exist from the moment their manifest does.

    prompts/qa/versions/3/manifest.json                                the commit; names, sizes and hashes of the rest
    prompts/qa/versions/3/_0f3a9c…_prompt.safetensors                  content, under a name no other writer has

Contents are written first, the manifest last and exclusively: of many writers of one folder one wins, the others learn
of it and clean up, and a writer that dies leaves only content that no manifest names, which ``sweep`` removes once it
is old. An artifact is withdrawn by replacing its manifest by a mark, so that its folder can never be created again.

This module knows no prompts; runs, datasets and maps can be kept the same way.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from service.errors import AtlasError, Conflict, DamagedArtifact
from service.store.files import TEMPORARY, FileEntry, Files
from service.store.records import seal, unseal
from service.store.remote_files import open_files
from service.store.times import Clock, utc_now

MANIFEST = "manifest.json"

_CONTENT_NAME = re.compile(r"_[0-9a-f]{16}_.+")


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """One file of an artifact. key: its name on disk, beside the manifest; sha256: 64 hexadecimal digits."""

    key: str
    sha256: str
    n_bytes: int


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """What a manifest says.

    folder: key of the folder. label: what errors call it, e.g. ``prompt qa@3``. files: by the name their writer gave.
    retired: it has been withdrawn; its files are, or soon will be, gone.
    """

    folder: str
    label: str
    files: Mapping[str, StoredFile]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    retired: bool = False


class ArtifactStore:
    """Artifacts and small sealed records at an fsspec URL; safe to share between threads.

    Args:
        url: a local directory or any fsspec URL (``s3://bucket/folder``, ``memory://name``).
        files: the filesystem to use instead of the one that the URL names.
        clock: tells ``sweep`` what is old.
    """

    def __init__(self, url: str, *, files: Files | None = None, clock: Clock = utc_now) -> None:
        self._files = open_files(url) if files is None else files
        self._clock = clock

    def create(
        self, folder: str, *, label: str, files: Mapping[str, bytes], metadata: Mapping[str, object]
    ) -> Artifact:
        """Store ``files`` and ``metadata`` as one artifact, whole or not at all.

        Raises:
            Conflict: the folder holds an artifact, or held one that was withdrawn.
            Unavailable: the filesystem refused; nothing can be read of what was written.
        """
        stored = {name: _stored_file(name, data) for name, data in files.items()}
        artifact = Artifact(folder=folder, label=label, files=stored, metadata=metadata)
        manifest = seal(_manifest_of(artifact))
        try:
            for name, data in files.items():
                self._files.put(f"{folder}/{stored[name].key}", data)
        except AtlasError:
            with suppress(AtlasError):
                self.discard_files(artifact)
            raise
        # When this fails, contents are left to the sweep: a manifest whose writing seemed to fail may yet appear.
        self._commit(artifact, manifest)
        return artifact

    def _commit(self, artifact: Artifact, manifest: bytes) -> None:
        try:
            self._files.create(f"{artifact.folder}/{MANIFEST}", manifest)
        except FileExistsError:
            # An object store's driver may repeat a write whose answer got lost, and then meet its own first try.
            present = self.get(artifact.folder, label=artifact.label)
            if present is not None and present.files == artifact.files:
                return
            self.discard_files(artifact)
            raise Conflict(f"{artifact.label} exists already.") from None

    def get(self, folder: str, *, label: str) -> Artifact | None:
        """The artifact in ``folder``, withdrawn ones included; None if none was ever committed there.

        Raises:
            DamagedArtifact: its manifest is not what was written.
        """
        try:
            data = self._files.read(f"{folder}/{MANIFEST}")
        except FileNotFoundError:
            return None
        return _artifact_from(data, folder=folder, label=label)

    def read(self, artifact: Artifact, name: str) -> bytes:
        """The bytes of the file called ``name``, checked against the manifest.

        Raises:
            DamagedArtifact: the file is missing, cut, or its bytes are not those that were stored.
        """
        stored = artifact.files.get(name)
        if stored is None:
            raise DamagedArtifact(f"{artifact.label} is damaged: its manifest names no {name}.")
        try:
            data = self._files.read(f"{artifact.folder}/{stored.key}")
        except FileNotFoundError:
            raise DamagedArtifact(f"{artifact.label} is damaged: {name} is missing.") from None
        if len(data) != stored.n_bytes:
            raise DamagedArtifact(
                f"{artifact.label} is damaged: {name} should have {stored.n_bytes} bytes, it has {len(data)}."
            )
        if hashlib.sha256(data).hexdigest() != stored.sha256:
            raise DamagedArtifact(f"{artifact.label} is damaged: the bytes of {name} do not match their hash.")
        return data

    def retire(self, artifact: Artifact) -> None:
        """Withdraw: from here on ``get`` says ``retired``. The files stay until ``discard_files``."""
        mark = Artifact(folder=artifact.folder, label=artifact.label, files=artifact.files, retired=True)
        self._files.put(f"{artifact.folder}/{MANIFEST}", seal(_manifest_of(mark)))

    def restore(self, artifact: Artifact) -> None:
        """Undo ``retire``, before the files were discarded."""
        self._files.put(f"{artifact.folder}/{MANIFEST}", seal(_manifest_of(artifact)))

    def discard_files(self, artifact: Artifact) -> None:
        """Remove the contents; those that are gone are no error."""
        for stored in artifact.files.values():
            self._files.remove(f"{artifact.folder}/{stored.key}")

    def names(self, folder: str) -> list[str]:
        """Sorted names directly in ``folder``, committed or not."""
        return self._files.names(folder)

    def has_manifest(self, folder: str) -> bool:
        """Whether an artifact was ever committed in ``folder``, sound or not."""
        return MANIFEST in self._files.names(folder)

    def get_record(self, key: str, *, label: str) -> dict[str, Any] | None:
        """A sealed record, None when there is none; DamagedArtifact when it is not what was written."""
        try:
            data = self._files.read(key)
        except FileNotFoundError:
            return None
        return unseal(data, label=label)

    def put_record(self, key: str, record: Mapping[str, object]) -> None:
        """Set a sealed record, replacing what was there."""
        self._files.put(key, seal(record))

    def create_record(self, key: str, record: Mapping[str, object]) -> bool:
        """Set a sealed record if there is none; False when another was first.

        ``record`` must hold something that no other writer's does: by it a repeated write knows its own first try.
        """
        data = seal(record)
        try:
            self._files.create(key, data)
        except FileExistsError:
            return self._files.read_many([key]).get(key) == data
        return True

    def remove_record(self, key: str) -> None:
        """Remove a record; fine if it is gone."""
        self._files.remove(key)

    def check(self) -> None:
        """Raise Unavailable unless the store can be reached."""
        self._files.check()

    def sweep(self, *, older_than: timedelta = timedelta(hours=1)) -> int:
        """Remove what writers that died have left: temporary files, and contents that no manifest names.

        Args:
            older_than: younger files may belong to a writer that is still alive.

        Returns:
            how many files were removed.
        """
        limit_s = (self._clock() - older_than).timestamp()
        old = [entry for entry in self._files.walk() if entry.modified_s is not None and entry.modified_s < limit_s]
        stale = [entry.key for entry in old if _name_of(entry.key).startswith(TEMPORARY)]
        stale += self._orphans(entry for entry in old if _CONTENT_NAME.fullmatch(_name_of(entry.key)))
        for key in stale:
            self._files.remove(key)
        return len(stale)

    def _orphans(self, contents: Iterable[FileEntry]) -> list[str]:
        keys = [entry.key for entry in contents]
        manifests = self._files.read_many({f"{_folder_of(key)}/{MANIFEST}" for key in keys})
        named: set[str] = set()
        for manifest_key, data in manifests.items():
            folder = _folder_of(manifest_key)
            try:
                artifact = _artifact_from(data, folder=folder, label="")
            except DamagedArtifact:
                # What a broken manifest named cannot be known: keep it all for whoever repairs it.
                named.update(key for key in keys if _folder_of(key) == folder)
                continue
            if not artifact.retired:
                named.update(f"{folder}/{stored.key}" for stored in artifact.files.values())
        return [key for key in keys if key not in named]


def _stored_file(name: str, data: bytes) -> StoredFile:
    key = f"_{secrets.token_hex(8)}_{name}"
    return StoredFile(key=key, sha256=hashlib.sha256(data).hexdigest(), n_bytes=len(data))


def _manifest_of(artifact: Artifact) -> dict[str, object]:
    files = {
        name: {"key": stored.key, "sha256": stored.sha256, "n_bytes": stored.n_bytes}
        for name, stored in artifact.files.items()
    }
    return {"format": 1, "files": files, "metadata": dict(artifact.metadata), "retired": artifact.retired}


def _artifact_from(data: bytes, *, folder: str, label: str) -> Artifact:
    record = unseal(data, label=f"{label}, {MANIFEST},")
    try:
        files = {name: StoredFile(**stored) for name, stored in record["files"].items()}
        return Artifact(folder=folder, label=label, files=files, metadata=record["metadata"], retired=record["retired"])
    except (KeyError, TypeError, AttributeError):
        raise DamagedArtifact(f"{label} is damaged: its manifest has an unknown form.") from None


def _name_of(key: str) -> str:
    return key.rpartition("/")[2]


def _folder_of(key: str) -> str:
    return key.rpartition("/")[0]
