"""Artifacts: folders of immutable files that exist from the moment their manifest does.

    prompts/qa/versions/3/manifest.json                                the commit; names, sizes and hashes of the rest
    prompts/qa/versions/3/_0f3a9c…_prompt.safetensors                  content, under a name no other writer has

Contents are written first, the manifest last and exclusively: of many writers of one folder one wins, the others learn
of it and clean up, and a writer that dies leaves only content that no manifest names, which ``sweep`` removes once it
is old. An artifact is withdrawn by replacing its manifest by a mark, so that its folder can never be created again.

An artifact may also be replaced: contents are written, the manifest put over the old one, the old contents removed.

This module knows no prompts; runs, datasets and maps are kept the same way.
"""

from __future__ import annotations

import hashlib
import io
import secrets
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

from service.errors import AtlasError, Conflict, DamagedArtifact
from service.store.artifacts.checked_reader import CheckedReader
from service.store.artifacts.clock import Clock, utc_now
from service.store.artifacts.files import BLOCK_BYTES, Files
from service.store.artifacts.manifests import MANIFEST, Artifact, StoredFile, artifact_from, manifest_of
from service.store.artifacts.remote_files import open_files
from service.store.artifacts.sealed_records import seal, unseal
from service.store.artifacts.stale_files import stale_keys

__all__ = ["MANIFEST", "Artifact", "ArtifactStore", "Content", "StoredFile"]

Content = bytes | Path
"""What to store in a file: its bytes, or the path of a file on this machine that is copied a block at a time."""


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
        self, folder: str, *, label: str, files: Mapping[str, Content], metadata: Mapping[str, object]
    ) -> Artifact:
        """Store ``files`` and ``metadata`` as one artifact, whole or not at all.

        Args:
            folder: key of the folder that will hold it.
            label: what errors call it.
            files: by name, their bytes or the path of a file on this machine that holds them and stays as it is.
            metadata: JSON values.

        Raises:
            Conflict: the folder holds an artifact, or held one that was withdrawn.
            Unavailable: the filesystem refused; nothing can be read of what was written.
        """
        artifact = self._with_contents(folder, label=label, files=files, metadata=metadata)
        # When this fails, contents are left to the sweep: a manifest whose writing seemed to fail may yet appear.
        self._commit(artifact, seal(manifest_of(artifact)))
        return artifact

    def replace(
        self, folder: str, *, label: str, files: Mapping[str, Content], metadata: Mapping[str, object]
    ) -> Artifact:
        """As ``create``, but what the folder held, if anything, goes: readers find all of the old or all of the new.

        Whoever opened a file of the old one before may find the rest of it missing. Of several that replace at once, one
        is left.
        """
        artifact = self._with_contents(folder, label=label, files=files, metadata=metadata)
        # Of a broken manifest it is not known what it named; the sweep takes that once the manifest is whole again.
        before = None
        with suppress(DamagedArtifact):
            before = self.get(folder, label=label)
        self._files.put(f"{folder}/{MANIFEST}", seal(manifest_of(artifact)))
        if before is not None:
            # It has been replaced, whatever becomes of this; what stays is the sweep's.
            with suppress(AtlasError):
                self.discard_files(before)
        return artifact

    def _with_contents(
        self, folder: str, *, label: str, files: Mapping[str, Content], metadata: Mapping[str, object]
    ) -> Artifact:
        """Write the contents; the artifact that a manifest would commit."""
        stored: dict[str, StoredFile] = {}
        artifact = Artifact(folder=folder, label=label, files=stored, metadata=metadata)
        # Before anything is written: metadata that JSON does not know.
        seal(manifest_of(artifact))
        try:
            for name, content in files.items():
                # Quoted, because a name with a slash in it would lie in a folder of its own, where no sweep looks.
                key = f"_{secrets.token_hex(8)}_{quote(name, safe='')}"
                stored[name] = StoredFile(key=key, sha256="", n_bytes=0)
                stored[name] = self._write(folder, key, content)
        except BaseException:
            with suppress(AtlasError):
                self.discard_files(artifact)
            raise
        return artifact

    def _write(self, folder: str, key: str, content: Content) -> StoredFile:
        if isinstance(content, Path):
            digest = self._files.put_file(f"{folder}/{key}", content)
            return StoredFile(key=key, sha256=digest.sha256, n_bytes=digest.n_bytes)
        self._files.put(f"{folder}/{key}", content)
        return StoredFile(key=key, sha256=hashlib.sha256(content).hexdigest(), n_bytes=len(content))

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
        return artifact_from(data, folder=folder, label=label)

    def get_many(self, labels: Mapping[str, str]) -> dict[str, Artifact | DamagedArtifact]:
        """As ``get`` for many folders at once, by folder: the artifact, or the error if it is damaged; absent ones not.

        Args:
            labels: what errors call each artifact, by folder.
        """
        folders = {f"{folder}/{MANIFEST}": folder for folder in labels}
        found: dict[str, Artifact | DamagedArtifact] = {}
        for key, data in self._files.read_many(folders).items():
            folder = folders[key]
            try:
                found[folder] = artifact_from(data, folder=folder, label=labels[folder])
            except DamagedArtifact as error:
                found[folder] = error
        return found

    def read(self, artifact: Artifact, name: str) -> bytes:
        """The bytes of the file called ``name``, checked against the manifest.

        Raises:
            DamagedArtifact: the file is missing, cut, or its bytes are not those that were stored.
        """
        stored = _named(artifact, name)
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

    def open(self, artifact: Artifact, name: str) -> BinaryIO:
        """A reader of the file called ``name``, from the beginning, for what should not be in memory whole.

        The bytes are hashed as they are read; when they are not those that were stored, reading raises DamagedArtifact
        instead of handing out the last of them. So whoever reads to the end has read what was stored.

        Raises:
            DamagedArtifact: the file is missing.
        """
        stored = _named(artifact, name)
        try:
            file = self._files.open(f"{artifact.folder}/{stored.key}")
        except FileNotFoundError:
            raise DamagedArtifact(f"{artifact.label} is damaged: {name} is missing.") from None
        return io.BufferedReader(CheckedReader(file, stored=stored, name=name, label=artifact.label), BLOCK_BYTES)

    def retire(self, artifact: Artifact) -> None:
        """Withdraw: from here on ``get`` says ``retired``. The files stay until ``discard_files``."""
        mark = Artifact(folder=artifact.folder, label=artifact.label, files=artifact.files, retired=True)
        self._files.put(f"{artifact.folder}/{MANIFEST}", seal(manifest_of(mark)))

    def restore(self, artifact: Artifact) -> None:
        """Undo ``retire``, before the files were discarded."""
        self._files.put(f"{artifact.folder}/{MANIFEST}", seal(manifest_of(artifact)))

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

    def get_records(self, labels: Mapping[str, str]) -> dict[str, dict[str, Any] | DamagedArtifact]:
        """As ``get_record`` for many keys at once, by key: the record, or the error if it is damaged; absent ones not.

        Args:
            labels: what errors call each record, by key.
        """
        found: dict[str, dict[str, Any] | DamagedArtifact] = {}
        for key, data in self._files.read_many(labels).items():
            try:
                found[key] = unseal(data, label=labels[key])
            except DamagedArtifact as error:  # noqa: PERF203
                found[key] = error
        return found

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
        stale = stale_keys(self._files, before_s=(self._clock() - older_than).timestamp())
        for key in stale:
            self._files.remove(key)
        return len(stale)


def _named(artifact: Artifact, name: str) -> StoredFile:
    stored = artifact.files.get(name)
    if stored is None:
        raise DamagedArtifact(f"{artifact.label} is damaged: its manifest names no {name}.")
    return stored
