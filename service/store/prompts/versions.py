"""PromptVersions of prompts as artifacts: which numbers there are, which are live, which hold a content.

prompts/{name}/versions/{v}/            one artifact a version; a deleted one leaves its mark, so numbers never return
prompt-hashes/{digits}/{name}@{v}.json  where a content may be found: a hint, checked against the manifest each time
"""

from __future__ import annotations

from collections.abc import Iterator

from service.errors import DamagedArtifact, NotFound
from service.store.artifacts.store import Artifact, ArtifactStore
from service.store.listing import OnDamage, log_damage
from service.store.prompts.manifests import PromptManifest


class PromptVersions:
    """Reads the versions in an artifact store; keeps nothing in memory."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts

    def numbers(self, name: str) -> list[int]:
        """Numbers that have a folder, newest first; not all of them are committed."""
        entries = self._artifacts.names(f"prompts/{name}/versions")
        return sorted((int(entry) for entry in entries if entry.isdecimal()), reverse=True)

    def newest_number(self, name: str) -> int:
        """The newest number ever committed, deleted ones included; 0 for none."""
        for number in self.numbers(name):
            if self._artifacts.has_manifest(version_folder(name, number)):
                return number
        return 0

    def artifact(self, name: str, number: int) -> Artifact | None:
        """The artifact of a version, deleted ones included."""
        return self._artifacts.get(version_folder(name, number), label=f"prompt {name}@{number}")

    def live(self, name: str, number: int) -> PromptManifest | None:
        """The manifest of a version, None if it was never committed or has been deleted; DamagedArtifact."""
        artifact = self.artifact(name, number)
        return None if artifact is None or artifact.retired else manifest_in(artifact)

    def newest_first(self, name: str, *, below: int | None = None, on_damage: OnDamage) -> Iterator[PromptManifest]:
        """Manifests of the live versions, those under ``below`` if given."""
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
        """Manifests of the live versions of any name that hold this content."""
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
        """The error for a name, or a number of it, that is not there."""
        newest = next(self.newest_first(name, on_damage=log_damage), None)
        if newest is None:
            return NotFound(f"There is no prompt {name!r}.")
        return NotFound(f"Prompt {name!r} has no version {number}; its newest is {newest.version}.")


def version_folder(name: str, number: int) -> str:
    """Key of the folder of a version."""
    return f"prompts/{name}/versions/{number}"


def hint_key(manifest: PromptManifest) -> str:
    """Key of the hint that leads from a content to a version."""
    return f"prompt-hashes/{_digits(manifest.sha256)}/{manifest.ref}.json"


def manifest_in(artifact: Artifact) -> PromptManifest:
    """The prompt's manifest in an artifact's; DamagedArtifact when it is none."""
    return PromptManifest.from_json(artifact.metadata, label=artifact.label)


def _digits(sha256: str) -> str:
    return sha256.removeprefix("sha256:")
