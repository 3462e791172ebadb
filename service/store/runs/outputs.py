"""What a run leaves: files by path, each an artifact of its own that a later attempt may replace.

runs/{id}/outputs/{quoted path}/    e.g. ``draws%2Fqa%403.safetensors``
"""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote, unquote

from service.errors import Conflict, DamagedArtifact, InvalidRequest, NotFound
from service.store.artifacts.store import Artifact, ArtifactStore
from service.store.listing import log_damage
from service.store.runs.records import Output

MAX_PATH = 200
"""Characters of a quoted path."""

_FILE = "data"


class Outputs:
    """The outputs of one run."""

    def __init__(self, artifacts: ArtifactStore, *, run_id: str) -> None:
        self._artifacts = artifacts
        self._run_id = run_id

    def put(self, path: str, data: bytes | Path) -> Output:
        """Keep ``data`` as ``path``, replacing what was there; InvalidRequest when nothing may be called so."""
        artifact = self._artifacts.replace(
            self._folder(check_path(path)), label=self._label(path), files={_FILE: data}, metadata={"path": path}
        )
        return _output_of(artifact)

    def put_once(self, path: str, data: bytes | Path) -> Output:
        """Keep ``data`` as ``path``, but leave a sound output that is there already: of several writers one is the first.

        For what comes out the same whoever makes it, so that its readers are never disturbed.

        Returns:
            what is there now.

        Raises:
            InvalidRequest: nothing may be called so.
        """
        folder, label = self._folder(check_path(path)), self._label(path)
        try:
            artifact = self._artifacts.create(folder, label=label, files={_FILE: data}, metadata={"path": path})
        except (Conflict, DamagedArtifact):
            return self.find(path) or self.put(path, data)
        return _output_of(artifact)

    def find(self, path: str) -> Output | None:
        """An output; None when there is none, or its manifest is damaged."""
        try:
            return _output_of(self._artifact(path))
        except NotFound:
            return None
        except DamagedArtifact as error:
            log_damage(error)
            return None

    def all(self) -> list[Output]:
        """Every output, in order of path; damaged ones are logged and left out."""
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
        """The bytes of an output, checked; NotFound, or DamagedArtifact."""
        return self._artifacts.read(self._artifact(path), _FILE)

    def open(self, path: str) -> tuple[BinaryIO, Output]:
        """A reader of an output, checked as ``ArtifactStore.open`` does; NotFound, or DamagedArtifact."""
        artifact = self._artifact(path)
        return self._artifacts.open(artifact, _FILE), _output_of(artifact)

    def remove(self, path: str) -> bool:
        """Withdraw an output and give its room back; False when there is none."""
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
            raise NotFound(f"Run {self._run_id} has no artifact {path[:MAX_PATH]!r}.")
        return artifact

    def _folder(self, path: str) -> str:
        return f"runs/{self._run_id}/outputs/{quote(path, safe='')}"

    def _label(self, path: str) -> str:
        return f"artifact {path} of run {self._run_id}"


def is_path(path: str) -> bool:
    """Whether an output may be called so: names between slashes, none empty or made of dots, not too long."""
    names = path.split("/")
    return len(quote(path, safe="")) <= MAX_PATH and path.isprintable() and all(name.strip(".") for name in names)


def check_path(path: str) -> str:
    """``path`` itself, if an output may be called so."""
    if not is_path(path):
        raise InvalidRequest(
            f"A path of an artifact is names between slashes, at most {MAX_PATH} characters when quoted; "
            f"this is {path[:MAX_PATH]!r}."
        )
    return path


def _output_of(artifact: Artifact) -> Output:
    stored = artifact.files[_FILE]
    return Output(path=str(artifact.metadata["path"]), n_bytes=stored.n_bytes, sha256=stored.sha256)
