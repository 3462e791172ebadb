"""Resolution of prompt references, with one access to the store where the place can be guessed.

A resolver remembers where a reference led, and reads from there first; of a new name it reads the first versions. What a name
or an alias leads to is always read from the store in the same call, so changes by other processes are visible at once. What a
version number or a hash leads to never changes, but may be deleted: it may be used again without a read for a moment.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from service.errors import DamagedArtifact, NotFound
from service.store.artifacts.store import Artifact, ArtifactStore
from service.store.listing import log_damage
from service.store.prompts.aliases import PromptAliases
from service.store.prompts.manifests import PromptManifest, Reference, parse_reference
from service.store.prompts.versions import PromptVersions, manifest_in, version_folder

_MAX_REMEMBERED = 4096
_MAX_READ_TOGETHER = 8


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A version that a reference led to. newest: newest number of its name then, deleted ones included."""

    name: str
    version: int
    newest: int = 0


class PromptReferences:
    """Resolves references in an artifact store; thread-safe.

    Args:
        fresh_s: seconds for which a version by number or hash is used again without a read; 0: never.
        now: a monotonic clock in seconds.
    """

    def __init__(
        self,
        artifacts: ArtifactStore,
        *,
        versions: PromptVersions,
        aliases: PromptAliases,
        fresh_s: float = 0.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._artifacts = artifacts
        self._versions = versions
        self._aliases = aliases
        self._places: OrderedDict[tuple[str, str | None], _Place] = OrderedDict()
        self._fresh: OrderedDict[tuple[str, str | None], tuple[PromptManifest, float]] = OrderedDict()
        self._fresh_s = fresh_s
        self._now = now
        self._lock = threading.Lock()

    def resolve(self, ref: str, *, base: str | None = None) -> PromptManifest:
        """The manifest that a reference leads to.

        Args:
            ref: ``name``, ``name@3``, ``name@alias`` or ``sha256:…``.
            base: of several prompts with the same hash, prefer the one for this model.

        Raises:
            InvalidRequest: the reference is malformed.
            NotFound: there is no such name, version, alias or hash.
            DamagedArtifact: the manifest or alias is damaged.
        """
        reference = parse_reference(ref)
        if reference.sha256 is not None or reference.version is not None:
            return self._fixed(ref, reference, base=base)
        name = str(reference.name)
        return self._newest(name) if reference.alias is None else self._by_alias(name, reference)

    def forget(self, name: str, version: int) -> None:
        """Read a version that was deleted from the store when it is named again."""
        with self._lock:
            gone = [key for key, (found, _) in self._fresh.items() if (found.name, found.version) == (name, version)]
            for key in gone:
                del self._fresh[key]

    def _fixed(self, ref: str, reference: Reference, *, base: str | None) -> PromptManifest:
        """What a version number or a hash leads to."""
        key = (ref, None if reference.sha256 is None else base)
        read_at = self._now()
        with self._lock:
            known = self._fresh.get(key)
        if known is not None and read_at - known[1] < self._fresh_s:
            return known[0]
        if reference.sha256 is not None:
            found = self._by_hash(reference.sha256, base=base)
        else:
            found = self._live(str(reference.name), int(reference.version or 0))
        if self._fresh_s:
            with self._lock:
                self._fresh[key] = found, read_at
                self._fresh.move_to_end(key)
                if len(self._fresh) > _MAX_REMEMBERED:
                    self._fresh.popitem(last=False)
        return found

    def with_hash(self, sha256: str, *, base: str | None = None) -> list[PromptManifest]:
        """Versions with this content, those for ``base`` first; not empty; raises NotFound or DamagedArtifact."""
        damages: list[DamagedArtifact] = []
        found = list(self._versions.with_hash(sha256, on_damage=damages.append))
        if not found and damages:
            raise damages[0]
        if not found:
            raise NotFound(f"There is no prompt with the content {sha256}.")
        return sorted(found, key=lambda manifest: manifest.base != base)

    def _live(self, name: str, version: int) -> PromptManifest:
        manifest = self._versions.live(name, version)
        if manifest is None:
            raise self._versions.not_found(name, version)
        return manifest

    def _newest(self, name: str) -> PromptManifest:
        # Numbers are consecutive and not reused: without a next one, the newest version is one of these.
        place = self._place(name) or _Place(name=name, version=1, newest=_MAX_READ_TOGETHER - 1)
        numbers = range(place.version, place.newest + 2)
        found = self._read(name, numbers)
        newest = max(found, default=0)
        if newest < numbers[-1]:
            for number in range(newest, place.version - 1, -1):
                artifact = found.get(number)
                if artifact is None or isinstance(artifact, DamagedArtifact):
                    break
                if not artifact.retired:
                    return self._remember(name, manifest_in(artifact), newest=newest)
        return self._find_newest(name)

    def _find_newest(self, name: str) -> PromptManifest:
        newest = 0
        for number in self._versions.numbers(name):
            artifact = self._versions.artifact(name, number)
            if artifact is None:
                continue
            newest = newest or number
            if not artifact.retired:
                return self._remember(name, manifest_in(artifact), newest=newest)
        raise self._versions.not_found(name)

    def _by_alias(self, name: str, reference: Reference) -> PromptManifest:
        alias = str(reference.alias)
        place = self._place(f"{name}@{alias}")
        numbers = range(1, _MAX_READ_TOGETHER + 1) if place is None else range(place.version, place.version + 1)
        found, records = self._artifacts.get_together(
            {version_folder(name, number): f"prompt {name}@{number}" for number in numbers},
            records=self._aliases.labels(name, alias),
        )
        version = self._aliases.version_in(records, name, alias)
        if version is None:
            raise self._no_alias(name, alias)
        artifact = found.get(version_folder(name, version))
        if isinstance(artifact, Artifact) and not artifact.retired:
            return self._remember(f"{name}@{alias}", manifest_in(artifact))
        return self._remember(f"{name}@{alias}", self._live(name, version))

    def _no_alias(self, name: str, alias: str) -> NotFound:
        if not self._versions.numbers(name):
            return self._versions.not_found(name)
        known = ", ".join(self._aliases.all_of(name)) or "none"
        return NotFound(f"Prompt {name!r} has no alias {alias!r}; it has: {known}.")

    def _by_hash(self, sha256: str, *, base: str | None) -> PromptManifest:
        place = self._place(sha256, base=base)
        if place is not None:
            try:
                known = self._versions.live(place.name, place.version)
            except DamagedArtifact as error:
                log_damage(error)
                known = None
            if known is not None and known.sha256 == sha256 and base in (None, known.base):
                return known
        return self._remember(sha256, self.with_hash(sha256, base=base)[0], base=base)

    def _read(self, name: str, numbers: range) -> Mapping[int, Artifact | DamagedArtifact]:
        folders = {version_folder(name, number): number for number in numbers}
        found = self._artifacts.get_many({folder: f"prompt {name}@{number}" for folder, number in folders.items()})
        return {folders[folder]: artifact for folder, artifact in found.items()}

    def _place(self, ref: str, *, base: str | None = None) -> _Place | None:
        with self._lock:
            return self._places.get((ref, base))

    def _remember(
        self, ref: str, manifest: PromptManifest, *, base: str | None = None, newest: int = 0
    ) -> PromptManifest:
        with self._lock:
            if newest - manifest.version < _MAX_READ_TOGETHER:
                place = _Place(name=manifest.name, version=manifest.version, newest=newest)
                self._places[ref, base] = place
                self._places.move_to_end((ref, base))
            while len(self._places) > _MAX_REMEMBERED:
                self._places.popitem(last=False)
        return manifest
