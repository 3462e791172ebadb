"""Versions of prompts as artifacts, by number and by content hash.

prompts/{name}/versions/{v}/            one artifact per version; a deleted one keeps a tombstone, so numbers are not reused
prompt-hashes/{digits}/{name}@{v}.json  index by content hash; entries are hints, checked against the manifest
"""

from __future__ import annotations

from collections.abc import Iterator

from service.errors import DamagedArtifact, NotFound
from service.store.artifacts.store import Artifact, ArtifactStore
from service.store.listing import OnDamage, log_damage
from service.store.prompts.manifests import PromptManifest


class PromptVersions:
    """Reads the versions in an artifact store; stateless."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts

    def numbers(self, name: str) -> list[int]:
        """Numbers with a folder, newest first; not all are committed."""
        entries = self._artifacts.names(f"prompts/{name}/versions")
        return sorted((int(entry) for entry in entries if entry.isdecimal()), reverse=True)

    def newest_number(self, name: str) -> int:
        """The newest number ever committed, including deleted ones; 0 if there is none."""
        for number in self.numbers(name):
            if self._artifacts.has_manifest(version_folder(name, number)):
                return number
        return 0

    def artifact(self, name: str, number: int) -> Artifact | None:
        """The artifact of a version, including deleted ones."""
        return self._artifacts.get(version_folder(name, number), label=f"prompt {name}@{number}")

    def live(self, name: str, number: int) -> PromptManifest | None:
        """The manifest of a version, or None if it does not exist or was deleted; raises DamagedArtifact."""
        artifact = self.artifact(name, number)
        return None if artifact is None or artifact.retired else manifest_in(artifact)

    def newest_first(self, name: str, *, below: int | None = None, on_damage: OnDamage) -> Iterator[PromptManifest]:
        """Manifests of the live versions, newest first, with numbers under ``below`` if given."""
        for number in self.numbers(name):
            if below is not None and number >= below:
                continue
            try:
                manifest = self.live(name, number)
            except DamagedArtifact as error:
                on_damage(error)
                continue
            if manifest is not None:
                yield manifest

    def with_hash(self, sha256: str, *, on_damage: OnDamage) -> Iterator[PromptManifest]:
        """Manifests of the live versions of any name with this content."""
        for entry in self._artifacts.names(f"prompt-hashes/{_digits(sha256)}"):
            name, _, number = entry.removesuffix(".json").partition("@")
            try:
                manifest = self.live(name, int(number))
            except DamagedArtifact as error:
                on_damage(error)
                continue
            if manifest is not None and manifest.sha256 == sha256:
                yield manifest

    def not_found(self, name: str, number: int | None = None) -> NotFound:
        """The error for a name or a version that does not exist."""
        newest = next(self.newest_first(name, on_damage=log_damage), None)
        if newest is None:
            return NotFound(f"There is no prompt {name!r}.")
        return NotFound(f"Prompt {name!r} has no version {number}; its newest is {newest.version}.")


def version_folder(name: str, number: int) -> str:
    """Key of the folder of a version."""
    return f"prompts/{name}/versions/{number}"


def hint_key(manifest: PromptManifest) -> str:
    """Key of the index entry from the content hash to a version."""
    return f"prompt-hashes/{_digits(manifest.sha256)}/{manifest.ref}.json"


def manifest_in(artifact: Artifact) -> PromptManifest:
    """The prompt manifest in an artifact's metadata; raises DamagedArtifact."""
    return PromptManifest.from_json(artifact.metadata, label=artifact.label)


def _digits(sha256: str) -> str:
    return sha256.removeprefix("sha256:")
