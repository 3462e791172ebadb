"""Files of clients, as OpenAI's API has them: inputs of batches, and their outputs.

files/file-1md3k0x9q2zfh7t0w/manifest.json    commit: name, purpose and time of the file
files/file-1md3k0x9q2zfh7t0w/_…_data          content
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from service.errors import Conflict, DamagedArtifact, NotFound
from service.store.artifacts.clock import Clock, utc_now
from service.store.artifacts.store import Artifact, ArtifactStore
from service.store.listing import Page, check_limit, log_damage
from service.store.runs.ids import RunIds

_FOLDER = "files"
_DATA = "data"
_ID = re.compile(r"file-[0-9a-z-]{1,80}")
MAX_FILENAME = 255


@dataclass(frozen=True, kw_only=True)
class ClientFile:
    """A stored file. created_s: seconds since 1970."""

    id: str
    filename: str
    purpose: str
    created_s: int
    n_bytes: int


class ClientFiles:
    """Files in an artifact store, newest first.

    Args:
        artifacts: The store.
        clock: Current time.
    """

    def __init__(self, artifacts: ArtifactStore, *, clock: Clock = utc_now) -> None:
        self._artifacts = artifacts
        self._clock = clock
        self._ids = RunIds()

    def create(self, content: Path, *, filename: str, purpose: str) -> ClientFile:
        """Store a local file under a new id."""
        file_id = f"file-{self._ids.new(self._clock()).removeprefix('run-')}"
        return self._create(file_id, content, filename=filename, purpose=purpose)

    def create_once(self, file_id: str, content: Path, *, filename: str, purpose: str) -> ClientFile:
        """Store a local file under a known id, replacing one that exists: the outputs of a batch that is resumed."""
        try:
            return self._create(file_id, content, filename=filename, purpose=purpose)
        except Conflict:
            artifact = self._artifacts.replace(
                f"{_FOLDER}/{file_id}",
                label=f"file {file_id}",
                files={_DATA: content},
                metadata=self._metadata(filename, purpose),
            )
            return _file_of(artifact)

    def get(self, file_id: str) -> ClientFile:
        """A file; raises NotFound or DamagedArtifact."""
        return _file_of(self._artifact(file_id))

    def open(self, file_id: str) -> tuple[BinaryIO, ClientFile]:
        """Open a file for streaming, verified as in ``ArtifactStore.open``; raises NotFound or DamagedArtifact."""
        artifact = self._artifact(file_id)
        return self._artifacts.open(artifact, _DATA), _file_of(artifact)

    def delete(self, file_id: str) -> None:
        """Delete a file; raises NotFound."""
        artifact = self._artifact(file_id)
        self._artifacts.retire(artifact)
        self._artifacts.discard_files(artifact)

    def list_files(self, *, limit: int = 100, after: str | None = None, purpose: str | None = None) -> Page[ClientFile]:
        """Files after the id ``after``, newest first; damaged ones are skipped."""
        check_limit(limit)
        found: list[ClientFile] = []
        for file_id in reversed(self._artifacts.names(_FOLDER)):
            if after is not None and file_id >= after:
                continue
            file = self._intact(file_id)
            if file is not None and purpose in (None, file.purpose):
                found.append(file)
            if len(found) > limit:
                break
        has_more = len(found) > limit
        return Page(items=found[:limit], has_more=has_more, next=found[limit - 1].id if has_more else None)

    def _create(self, file_id: str, content: Path, *, filename: str, purpose: str) -> ClientFile:
        artifact = self._artifacts.create(
            f"{_FOLDER}/{file_id}",
            label=f"file {file_id}",
            files={_DATA: content},
            metadata=self._metadata(filename, purpose),
        )
        return _file_of(artifact)

    def _metadata(self, filename: str, purpose: str) -> Mapping[str, object]:
        return {
            "filename": filename[:MAX_FILENAME],
            "purpose": purpose,
            "created_s": int(self._clock().timestamp()),
        }

    def _artifact(self, file_id: str) -> Artifact:
        is_id = _ID.fullmatch(file_id) is not None
        artifact = self._artifacts.get(f"{_FOLDER}/{file_id}", label=f"file {file_id}") if is_id else None
        if artifact is None or artifact.retired:
            raise NotFound(f"There is no file {file_id[:80]!r}.")
        return artifact

    def _intact(self, file_id: str) -> ClientFile | None:
        try:
            return self.get(file_id)
        except NotFound:
            return None
        except DamagedArtifact as error:
            log_damage(error)
            return None


def _file_of(artifact: Artifact) -> ClientFile:
    facts: Mapping[str, Any] = artifact.metadata
    try:
        return ClientFile(
            id=artifact.folder.rpartition("/")[2],
            filename=facts["filename"],
            purpose=facts["purpose"],
            created_s=facts["created_s"],
            n_bytes=artifact.files[_DATA].n_bytes,
        )
    except (KeyError, TypeError):
        raise DamagedArtifact(f"{artifact.label} is damaged: its manifest lacks fields.") from None
