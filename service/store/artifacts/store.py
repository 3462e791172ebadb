"""Store of artifacts: folders of immutable files, committed by their manifest.

    prompts/qa/versions/3/manifest.json                                commit: names, sizes and hashes of the files
    prompts/qa/versions/3/_0f3a9c…_prompt.safetensors                  content, under a unique name

Contents are written first, then the manifest, exclusively: of concurrent writers of a folder one succeeds, and the others
clean up. A crashed writer leaves only contents that no manifest references; ``sweep`` removes them when they are old. An
artifact is withdrawn by replacing its manifest with a tombstone, so that its folder cannot be created again.

An artifact can also be replaced: new contents are written, the manifest is overwritten, the old contents are removed.

Prompts, runs, datasets and maps are all stored as artifacts.
"""

from __future__ import annotations

import hashlib
import io
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, TypeVar
from urllib.parse import quote

from service.errors import AtlasError, Conflict, DamagedArtifact, StoreFull
from service.store.artifacts.checked_reader import CheckedReader
from service.store.artifacts.clock import Clock, utc_now
from service.store.artifacts.manifests import MANIFEST, Artifact, StoredFile, artifact_from, manifest_of
from service.store.artifacts.sealed_records import seal, unseal
from service.store.artifacts.settled_folders import SettledFolders
from service.store.artifacts.stale_files import stale_keys
from service.store.files.files import BLOCK_BYTES, Files
from service.store.files.remote_files import open_files

__all__ = ["MANIFEST", "Artifact", "ArtifactStore", "Content", "StoredFile"]

_Parsed = TypeVar("_Parsed")

Content = bytes | Path
"""Content of a file: its bytes, or the path of a local file, which is copied in blocks."""


class ArtifactStore:
    """Artifacts and small sealed records at an fsspec URL; safe to share between threads.

    Args:
        url: A local directory or an fsspec URL (``s3://bucket/folder``, ``memory://name``).
        files: Filesystem to use instead of the one of the URL.
        clock: Used by ``sweep``.
    """

    def __init__(self, url: str, *, files: Files | None = None, clock: Clock = utc_now) -> None:
        self._files = open_files(url) if files is None else files
        self._clock = clock

    def create(
        self, folder: str, *, label: str, files: Mapping[str, Content], metadata: Mapping[str, object]
    ) -> Artifact:
        """Store ``files`` and ``metadata`` as one artifact, atomically.

        Args:
            folder: Key of the artifact's folder.
            label: Name in error messages.
            files: Contents by name; local files must not change meanwhile.
            metadata: JSON values.

        Raises:
            Conflict: The folder has an artifact, or had one that was withdrawn.
            Unavailable: The filesystem failed; no artifact was created.
        """
        artifact = self._with_contents(folder, label=label, files=files, metadata=metadata)
        # On failure the contents are left to ``sweep``: a manifest whose write appeared to fail may still appear.
        self._commit(artifact, seal(manifest_of(artifact)))
        return artifact

    def replace(
        self, folder: str, *, label: str, files: Mapping[str, Content], metadata: Mapping[str, object]
    ) -> Artifact:
        """Like ``create``, but replaces an existing artifact: readers find either the old or the new one.

        A reader that holds the old manifest may find its files missing. Of concurrent replacements, one remains.
        """
        artifact = self._with_contents(folder, label=label, files=files, metadata=metadata)
        # The files of a damaged manifest are unknown; ``sweep`` removes them after the new manifest is written.
        before = None
        with suppress(DamagedArtifact):
            before = self.get(folder, label=label)
        self._files.put(f"{folder}/{MANIFEST}", seal(manifest_of(artifact)))
        if before is not None:
            # The replacement is already committed; remaining files are left to ``sweep``.
            with suppress(AtlasError):
                self.discard_files(before)
        return artifact

    def _with_contents(
        self, folder: str, *, label: str, files: Mapping[str, Content], metadata: Mapping[str, object]
    ) -> Artifact:
        """Write the contents and return the artifact, not yet committed."""
        stored: dict[str, StoredFile] = {}
        artifact = Artifact(folder=folder, label=label, files=stored, metadata=metadata)
        # Fails before anything is written if the metadata is not JSON.
        seal(manifest_of(artifact))
        try:
            for name, content in files.items():
                # Quoted, because a name with a slash would be in a subfolder, where ``sweep`` does not look.
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
            # A driver may retry a write whose response was lost, and then find its own first attempt.
            present = self.get(artifact.folder, label=artifact.label)
            if present is not None and present.files == artifact.files:
                return
            self.discard_files(artifact)
            raise Conflict(f"{artifact.label} already exists.") from None

    def get(self, folder: str, *, label: str) -> Artifact | None:
        """The artifact in ``folder``, including withdrawn ones; None if none was ever committed.

        Raises:
            DamagedArtifact: Its manifest is damaged.
        """
        try:
            data = self._files.read(f"{folder}/{MANIFEST}")
        except FileNotFoundError:
            return None
        return artifact_from(data, folder=folder, label=label)

    def get_many(self, labels: Mapping[str, str]) -> dict[str, Artifact | DamagedArtifact]:
        """Like ``get`` for many folders: by folder, the artifact, or the error if it is damaged; missing ones are left out.

        Args:
            labels: Name in error messages, by folder.
        """
        return self.get_together(labels, records={})[0]

    def get_together(
        self, labels: Mapping[str, str], *, records: Mapping[str, str]
    ) -> tuple[dict[str, Artifact | DamagedArtifact], dict[str, dict[str, Any] | DamagedArtifact]]:
        """``get_many(labels)`` and ``get_records(records)`` in one access to the filesystem."""
        keys = {folder: f"{folder}/{MANIFEST}" for folder in labels}
        data = self._files.read_many([*keys.values(), *records])
        artifacts = {
            folder: _or_damage(artifact_from, data[key], folder=folder, label=labels[folder])
            for folder, key in keys.items()
            if key in data
        }
        found = {key: _or_damage(unseal, data[key], label=label) for key, label in records.items() if key in data}
        return artifacts, found

    def read(self, artifact: Artifact, name: str) -> bytes:
        """The bytes of the file ``name``, verified against the manifest.

        Raises:
            DamagedArtifact: The file is missing, or its size or hash does not match.
        """
        stored = artifact.file(name)
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
        """Open the file ``name`` for streaming.

        The bytes are hashed while they are read. If size or hash do not match, reading raises DamagedArtifact before the
        last bytes are returned, so a reader that reaches the end has read the stored content.

        Raises:
            DamagedArtifact: The file is missing.
        """
        stored = artifact.file(name)
        try:
            file = self._files.open(f"{artifact.folder}/{stored.key}")
        except FileNotFoundError:
            raise DamagedArtifact(f"{artifact.label} is damaged: {name} is missing.") from None
        return io.BufferedReader(CheckedReader(file, stored=stored, name=name, label=artifact.label), BLOCK_BYTES)

    def retire(self, artifact: Artifact) -> None:
        """Withdraw an artifact: ``get`` returns it as ``retired``. Its files remain until ``discard_files``."""
        tombstone = Artifact(folder=artifact.folder, label=artifact.label, files=artifact.files, retired=True)
        # Also on a full disk, of which the files are to be removed.
        self._with_reserve(lambda: self._files.put(f"{artifact.folder}/{MANIFEST}", seal(manifest_of(tombstone))))

    def restore(self, artifact: Artifact) -> None:
        """Undo ``retire``; the files must not have been discarded."""
        self._files.put(f"{artifact.folder}/{MANIFEST}", seal(manifest_of(artifact)))

    def discard_files(self, artifact: Artifact) -> None:
        """Remove the files of an artifact; missing ones are no error."""
        for stored in artifact.files.values():
            self._files.remove(f"{artifact.folder}/{stored.key}")

    def names(self, folder: str) -> list[str]:
        """Sorted names directly in ``folder``, committed or not."""
        return self._files.names(folder)

    def has_manifest(self, folder: str) -> bool:
        """Whether an artifact was ever committed in ``folder``, even if it is damaged."""
        return MANIFEST in self._files.names(folder)

    def get_record(self, key: str, *, label: str) -> dict[str, Any] | None:
        """A sealed record, or None if it does not exist; raises DamagedArtifact."""
        try:
            data = self._files.read(key)
        except FileNotFoundError:
            return None
        return unseal(data, label=label)

    def get_records(self, labels: Mapping[str, str]) -> dict[str, dict[str, Any] | DamagedArtifact]:
        """Like ``get_record`` for the keys of ``labels``: the record, or the error if it is damaged; without missing ones."""
        return self.get_together({}, records=labels)[1]

    def put_record(self, key: str, record: Mapping[str, object]) -> None:
        """Write a sealed record, replacing an existing one."""
        self._files.put(key, seal(record))

    def hold_reserve(self) -> None:
        """Reserve a little space for records that end work on a full disk; cheap if it is reserved already."""
        self._files.hold_reserve()

    def create_record(self, key: str, record: Mapping[str, object], *, use_reserve: bool = False) -> bool:
        """Create a sealed record; returns False if another writer created it first.

        With ``use_reserve``, a full disk is given the space of :meth:`hold_reserve`, and the record is written again.

        ``record`` must be unique to its writer, e.g. have a random token, so that a retried write recognizes its own
        first attempt.
        """
        data = seal(record)
        try:
            self._with_reserve(lambda: self._files.create(key, data), is_allowed=use_reserve)
        except FileExistsError:
            return self._files.read_many([key]).get(key) == data
        return True

    def remove_record(self, key: str) -> None:
        """Remove a record; no error if it does not exist."""
        self._files.remove(key)

    def remove_folder(self, folder: str) -> None:
        """Remove everything in a folder, not atomically; no error if it does not exist."""
        self._files.remove_folder(folder)

    def _with_reserve(self, write: Callable[[], None], *, is_allowed: bool = True) -> None:
        try:
            write()
        except StoreFull:
            if not is_allowed or not self._files.release_reserve():
                raise
            write()

    def check(self) -> None:
        """Raise Unavailable unless the store is reachable and writable; a bucket is written to at times only."""
        self._files.check()

    def sweep(self, *, older_than: timedelta = timedelta(hours=1), settled: SettledFolders | None = None) -> int:
        """Remove stale files of crashed writers, and return their number. settled: see ``stale_keys``.

        Args:
            older_than: Minimum age; younger files may belong to a running writer.
        """
        before_s = (self._clock() - older_than).timestamp()
        stale = stale_keys(self._files, entries=self._files.walk(), before_s=before_s, settled=settled)
        for key in stale:
            self._files.remove(key)
        return len(stale)


def _or_damage(parse: Callable[..., _Parsed], data: bytes, **options: str) -> _Parsed | DamagedArtifact:
    try:
        return parse(data, **options)
    except DamagedArtifact as error:
        return error
