"""Contents of prompts by content hash, from the store or from a cache on this host."""

from __future__ import annotations

from collections.abc import Iterator

from service.errors import DamagedArtifact, InvalidRequest, NotFound
from service.store.artifacts.store import Artifact, ArtifactStore
from service.store.listing import log_damage
from service.store.local_cache import LocalCache
from service.store.prompts.aliases import PromptAliases
from service.store.prompts.manifests import parse_reference
from service.store.prompts.native_format import PromptContent
from service.store.prompts.references import PromptReferences
from service.store.prompts.store import CONTENT
from service.store.prompts.stored_format import read_content
from service.store.prompts.versions import PromptVersions


class PromptContents:
    """Loads contents; thread-safe.

    Every content is checked against its hash, also one from the cache: a damaged file is not used, and is replaced.

    Args:
        cache: of files of the native format, by the digits of the hash; None for none.
    """

    def __init__(self, artifacts: ArtifactStore, *, cache: LocalCache | None = None) -> None:
        self._artifacts = artifacts
        self._versions = PromptVersions(artifacts)
        aliases = PromptAliases(artifacts)
        self._references = PromptReferences(artifacts, versions=self._versions, aliases=aliases)
        self._cache = cache

    def load(self, sha256: str, *, ref: str | None = None) -> PromptContent:
        """The prompt with this content, from any intact version.

        Args:
            sha256: ``sha256:`` and 64 digits; for a member of a posterior, ``#`` and its index follow.
            ref: ``name@3`` of a version that is known to have it. It saves the search for one.

        Raises:
            NotFound: no version has it, or the posterior has no such member.
            InvalidRequest: it is a posterior, and no member is named.
            DamagedArtifact: all versions that have it are damaged.
        """
        stored, _, index = sha256.partition("#")
        content = self._load(stored, ref=ref)
        if index:
            return content.member(int(index))
        if content.member_kind is not None:
            raise InvalidRequest(f"Expected a prompt, got a posterior of {content.n_members} prompts.")
        return content

    def _load(self, sha256: str, *, ref: str | None) -> PromptContent:
        """The content with this hash, from any intact version.

        Args:
            sha256: ``sha256:`` and 64 digits.
            ref: ``name@3`` of a version that is known to have it. It saves the search for one.

        Raises:
            NotFound: no version has it.
            DamagedArtifact: all versions that have it are damaged.
        """
        cached = self._cached(sha256)
        if cached is not None:
            return cached
        error: NotFound | DamagedArtifact | None = None
        for artifact in self._holders(sha256, ref=ref):
            try:
                data = self._artifacts.read(artifact, CONTENT)
                content = read_content(data, sha256=sha256, label=artifact.label)
            except DamagedArtifact as damage:
                log_damage(damage)
                error = error or damage
                continue
            if self._cache is not None:
                self._cache.put(_digits(sha256), data)
            return content
        raise error or NotFound(f"There is no prompt with the content {sha256}.")

    def _cached(self, sha256: str) -> PromptContent | None:
        data = None if self._cache is None else self._cache.get(_digits(sha256))
        if self._cache is None or data is None:
            return None
        try:
            return read_content(data, sha256=sha256, label="A cached prompt")
        except DamagedArtifact as damage:
            log_damage(damage)
            self._cache.remove(_digits(sha256))
            return None

    def _holders(self, sha256: str, *, ref: str | None) -> Iterator[Artifact]:
        """Live versions with this content, the one that ``ref`` names first."""
        tried = None
        if ref is not None:
            tried = self._named(ref)
            if tried is not None:
                yield tried
        for manifest in self._references.with_hash(sha256):
            artifact = self._versions.artifact(manifest.name, manifest.version)
            if artifact is not None and not artifact.retired and (tried is None or artifact.folder != tried.folder):
                yield artifact

    def _named(self, ref: str) -> Artifact | None:
        try:
            reference = parse_reference(ref)
            if reference.name is None or reference.version is None:
                return None
            artifact = self._versions.artifact(reference.name, reference.version)
        except (InvalidRequest, DamagedArtifact):
            return None
        return None if artifact is None or artifact.retired else artifact


def _digits(sha256: str) -> str:
    return sha256.removeprefix("sha256:")
