"""Manifests of artifacts, and their JSON form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from service.errors import DamagedArtifact
from service.store.artifacts.sealed_records import unseal

MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """One file of an artifact. key: its name in the artifact's folder; sha256: 64 hexadecimal digits."""

    key: str
    sha256: str
    n_bytes: int


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """An artifact as described by its manifest.

    folder: key of the folder. label: name in error messages, e.g. ``prompt qa@3``. files: by logical name.
    retired: whether it has been withdrawn; its files are or will be removed.
    """

    folder: str
    label: str
    files: Mapping[str, StoredFile]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    retired: bool = False

    def file(self, name: str) -> StoredFile:
        """The file with this logical name; raises DamagedArtifact if the manifest has none."""
        stored = self.files.get(name)
        if stored is None:
            raise DamagedArtifact(f"{self.label} is damaged: its manifest has no file {name}.")
        return stored


def manifest_of(artifact: Artifact) -> dict[str, object]:
    """The manifest of an artifact as a JSON object."""
    files = {
        name: {"key": stored.key, "sha256": stored.sha256, "n_bytes": stored.n_bytes}
        for name, stored in artifact.files.items()
    }
    return {"format": 1, "files": files, "metadata": dict(artifact.metadata), "retired": artifact.retired}


def artifact_from(data: bytes, *, folder: str, label: str) -> Artifact:
    """Parse a sealed manifest; raises DamagedArtifact if it is damaged."""
    record = unseal(data, label=f"{label}, {MANIFEST},")
    try:
        files = {name: StoredFile(**stored) for name, stored in record["files"].items()}
        return Artifact(folder=folder, label=label, files=files, metadata=record["metadata"], retired=record["retired"])
    except (KeyError, TypeError, AttributeError):
        raise DamagedArtifact(f"{label} is damaged: its manifest has missing or unknown fields.") from None
