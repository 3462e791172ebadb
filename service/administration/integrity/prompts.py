"""Check of the pointers to prompts: aliases, and the index by content hash."""

from __future__ import annotations

from collections.abc import Iterator

from service.administration.integrity.problems import Problem, Repair
from service.administration.inventory import Inventory, name_of
from service.errors import DamagedArtifact
from service.store.artifacts.store import ArtifactStore
from service.store.prompts.aliases import PromptAliases
from service.store.prompts.manifests import PromptManifest
from service.store.prompts.versions import PromptVersions, hint_key


class PromptChecks:
    """Checks the pointers to prompts of a store. inventory: a listing of it."""

    def __init__(self, artifacts: ArtifactStore, *, inventory: Inventory) -> None:
        self._artifacts = artifacts
        self._versions = PromptVersions(artifacts)
        self._aliases = PromptAliases(artifacts)
        self._inventory = inventory

    def check(self) -> Iterator[Problem]:
        """Aliases without a version, and versions that are not in the index."""
        for name in self._inventory.names("prompts"):
            yield from self._check_aliases(name)
            yield from self._check_index(name)

    def _check_aliases(self, name: str) -> Iterator[Problem]:
        for entry in self._inventory.names(f"prompts/{name}/aliases"):
            alias = entry.removesuffix(".json")
            what = self._fault_of_alias(name, alias)
            # Read again: it may have been moved between its record and its version.
            if what is not None and (what := self._fault_of_alias(name, alias)) is not None:
                yield Problem(
                    key=f"prompts/{name}/aliases/{entry}",
                    what=what,
                    advice="set the alias to another version, or delete it",
                )

    def _fault_of_alias(self, name: str, alias: str) -> str | None:
        try:
            version = self._aliases.version_of(name, alias)
        except DamagedArtifact as error:
            return error.detail
        try:
            if version is None or self._versions.live(name, version) is not None:
                return None
        except DamagedArtifact:
            return None  # the version is a problem of its own
        return f"alias {name}@{alias} points to version {version}, which does not exist."

    def _check_index(self, name: str) -> Iterator[Problem]:
        for entry in self._inventory.names(f"prompts/{name}/versions"):
            manifest = self._live(name, entry)
            if manifest is None or self._is_indexed(manifest):
                continue

            def perform(manifest: PromptManifest = manifest) -> None:
                self._artifacts.put_record(hint_key(manifest), {"ref": manifest.ref})

            yield Problem(
                key=hint_key(manifest),
                what=f"prompt {manifest.ref} is not found by its content hash: its entry in the index is missing or damaged.",
                advice="run fsck --repair",
                repair=Repair(done="index entry written", perform=perform, cures=True),
            )

    def _is_indexed(self, manifest: PromptManifest) -> bool:
        key = hint_key(manifest)
        try:
            return self._artifacts.get_record(key, label=name_of(key)) is not None
        except DamagedArtifact:
            return False

    def _live(self, name: str, entry: str) -> PromptManifest | None:
        try:
            return self._versions.live(name, int(entry)) if entry.isdecimal() else None
        except DamagedArtifact:
            return None  # a problem of its own
