"""Outputs of a run: files by path, each a separate artifact that a later attempt can replace.

runs/{id}/outputs/{quoted path}/    e.g. ``draws%2Fqa%403.safetensors``
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote

from service.errors import Conflict, DamagedArtifact, Expired, InvalidRequest, NotFound
from service.store.artifacts.store import Artifact, ArtifactStore
from service.store.listing import log_damage
from service.store.runs.expiry import expired_output
from service.store.runs.records import Output

MAX_PATH = 200
"""Maximum length of a quoted path."""

_FILE = "data"


class Outputs:
    """The outputs of one run."""

    def __init__(self, artifacts: ArtifactStore, *, run_id: str) -> None:
        self._artifacts = artifacts
        self._run_id = run_id

    def put(self, path: str, data: bytes | Path) -> Output:
        """Store ``data`` as ``path``, replacing an existing output; raises InvalidRequest for an invalid path."""
        artifact = self._artifacts.replace(
            self._folder(check_path(path)), label=self._label(path), files={_FILE: data}, metadata={"path": path}
        )
        return _output_of(artifact)

    def put_once(self, path: str, data: bytes | Path) -> Output:
        """Store ``data`` as ``path`` unless an intact output exists; of concurrent writers the first one succeeds.

        For deterministic outputs: readers are not disturbed by a second writer.

        Returns:
            The stored output.

        Raises:
            InvalidRequest: The path is invalid.
        """
        folder, label = self._folder(check_path(path)), self._label(path)
        try:
            artifact = self._artifacts.create(folder, label=label, files={_FILE: data}, metadata={"path": path})
        except (Conflict, DamagedArtifact):
            return self.find(path) or self.put(path, data)
        return _output_of(artifact)

    def find(self, path: str) -> Output | None:
        """An output, or None if it does not exist or its manifest is damaged."""
        try:
            return _output_of(self._artifact(path))
        except NotFound:
            return None
        except DamagedArtifact as error:
            log_damage(error)
            return None

    def all(self) -> list[Output]:
        """All outputs, ordered by path; damaged ones are logged and skipped."""
        paths = map(unquote, self._artifacts.names(f"runs/{self._run_id}/outputs"))
        labels = {self._folder(path): self._label(path) for path in paths}
        found = []
        for artifact in self._artifacts.get_many(labels).values():
            if isinstance(artifact, DamagedArtifact):
                log_damage(artifact)
            elif not artifact.retired:
                found.append(_output_of(artifact))
        return sorted(found, key=lambda output: output.path)

    def read(self, path: str) -> bytes:
        """The verified bytes of an output; raises NotFound, Expired or DamagedArtifact."""
        return self._artifacts.read(self._artifact(path), _FILE)

    def open(self, path: str) -> tuple[BinaryIO, Output]:
        """Open an output for streaming, verified as in ``ArtifactStore.open``; raises NotFound or DamagedArtifact."""
        artifact = self._artifact(path)
        return self._artifacts.open(artifact, _FILE), _output_of(artifact)

    def remove(self, path: str) -> bool:
        """Remove an output and free its space; returns False if it does not exist."""
        try:
            artifact = self._artifact(path)
        except NotFound:
            return False
        self._artifacts.retire(artifact)
        self._artifacts.discard_files(artifact)
        return True

    def _artifact(self, path: str) -> Artifact:
        artifact = self._artifacts.get(self._folder(path), label=self._label(path)) if is_path(path) else None
        if artifact is None or artifact.retired:
            expired = expired_output(self._artifacts, run_id=self._run_id, path=path)
            if expired is not None:
                raise Expired(
                    f"Artifact {path[:MAX_PATH]!r} of run {self._run_id} has expired: it was removed at "
                    f"{expired.expired_at[:19]}Z because of its age or size."
                )
            raise NotFound(f"Run {self._run_id} has no artifact {path[:MAX_PATH]!r}.")
        return artifact

    def _folder(self, path: str) -> str:
        return f"runs/{self._run_id}/outputs/{quote(path, safe='')}"

    def _label(self, path: str) -> str:
        return f"artifact {path} of run {self._run_id}"


def is_path(path: str) -> bool:
    """Whether a path is valid: names separated by slashes, none empty or only dots, not too long."""
    names = path.split("/")
    return len(quote(path, safe="")) <= MAX_PATH and path.isprintable() and all(name.strip(".") for name in names)


def check_path(path: str) -> str:
    """Return ``path``, or raise InvalidRequest if it is invalid."""
    if not is_path(path):
        raise InvalidRequest(
            f"The path of an artifact has names separated by slashes and at most {MAX_PATH} characters when quoted; "
            f"got {path[:MAX_PATH]!r}."
        )
    return path


def _output_of(artifact: Artifact) -> Output:
    stored = artifact.files[_FILE]
    return Output(path=str(artifact.metadata["path"]), n_bytes=stored.n_bytes, sha256=stored.sha256)
