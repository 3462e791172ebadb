"""Store of prompts by name, version, alias and content hash.

There are no locks, and no cached answers: any number of processes on any hosts can share a store, and see each other's writes at
once. The last write wins, and a crash leaves either the old or the new state.
"""

from __future__ import annotations

from itertools import islice

from service.errors import Busy, Conflict, DamagedArtifact, InvalidRequest, NotFound
from service.store.artifacts.clock import Clock, utc_now, write_time
from service.store.artifacts.store import ArtifactStore
from service.store.index.changes import Changes
from service.store.index.entries import NameEntry
from service.store.index.index import StoreIndex
from service.store.index.lists import from_index_or_files
from service.store.listing import Page, check_limit, log_damage
from service.store.prompts.aliases import PromptAliases
from service.store.prompts.manifests import (
    PromptManifest,
    PromptSummary,
    Provenance,
    check_alias,
    check_name,
    require_prompt,
)
from service.store.prompts.native_format import PromptFile
from service.store.prompts.references import PromptReferences
from service.store.prompts.stored_format import read_stored
from service.store.prompts.versions import (
    PromptVersions,
    hint_key,
    manifest_in,
    version_folder,
)

CONTENT = "prompt.safetensors"

_MAX_ATTEMPTS = 1000
_NO_PROVENANCE = Provenance()


class PromptStore:
    """Prompts in an artifact store; thread-safe, and safe with other instances on the same store.

    Args:
        artifacts: The artifact store.
        clock: Timestamps for ``created_at``.
        index: Of the same store, for lists; None: lists are read from the files.
        fresh_s: Seconds for which a version that was read by its number or hash is used again without a read, although another
            process may have deleted it; 0: never.
    """

    def __init__(
        self,
        artifacts: ArtifactStore,
        *,
        clock: Clock = utc_now,
        index: StoreIndex | None = None,
        fresh_s: float = 0.0,
    ) -> None:
        self._artifacts = artifacts
        self._index = index
        self._changes = Changes(artifacts, clock=clock)
        self._versions = PromptVersions(artifacts)
        self._aliases = PromptAliases(artifacts)
        self._references = PromptReferences(artifacts, versions=self._versions, aliases=self._aliases, fresh_s=fresh_s)
        self._clock = clock

    def create(
        self, name: str, *, prompt: PromptFile, provenance: Provenance = _NO_PROVENANCE
    ) -> tuple[PromptManifest, bool]:
        """Store ``prompt`` as the next version of ``name``, or return the existing version with the same content.

        Returns:
            The manifest, and whether it is new.

        Raises:
            InvalidRequest: ``name`` is not a valid name.
            Busy: Too many concurrent writers of this name.
        """
        check_name(name)
        content = prompt.to_bytes()
        for _ in range(_MAX_ATTEMPTS):
            # The order matters: a concurrent commit after this read takes the number tried below, and a commit before it
            # is found by its hash. Therefore the same content never gets two versions.
            newest = self._versions.newest_number(name)
            known = self._find_same(name, prompt)
            if known is not None:
                return known, False
            manifest = self._manifest_for(name, version=newest + 1, prompt=prompt, provenance=provenance)
            # Before the manifest, so that every version can be found by its hash even after a crash.
            self._artifacts.put_record(hint_key(manifest), {"ref": manifest.ref})
            if not newest:
                self._changes.note(NameEntry(noun="prompt", name=name))
            try:
                self._artifacts.create(
                    version_folder(name, manifest.version),
                    label=f"prompt {manifest.ref}",
                    files={CONTENT: content},
                    metadata=manifest.to_json(),
                )
            except Conflict:
                continue
            return manifest, True
        raise Busy(f"Too many uploads to {name!r} at once.", retry_after_s=1.0)

    def resolve(self, ref: str, *, base: str | None = None, allows_posterior: bool = False) -> PromptManifest:
        """Resolve a reference to a version.

        Args:
            ref: ``name``, ``name@3``, ``name@alias`` or ``sha256:…``.
            base: Of several prompts with the same hash, prefer the one for this model.
            allows_posterior: Whether the version may be a posterior.

        Raises:
            InvalidRequest: The reference is malformed, or names a posterior.
            NotFound: There is no such name, version, alias or hash.
            DamagedArtifact: The manifest or alias is damaged.
        """
        found = self._references.resolve(ref, base=base)
        return found if allows_posterior else require_prompt(found, ref=ref)

    def get(self, name: str, *, version: int) -> PromptManifest:
        """The manifest of one version; raises NotFound or DamagedArtifact."""
        check_name(name)
        manifest = self._versions.live(name, version)
        if manifest is None:
            raise self._versions.not_found(name, version)
        return manifest

    def content(self, manifest: PromptManifest) -> bytes:
        """The canonical native file of a version, verified against its hash.

        Raises:
            NotFound: The version was deleted meanwhile.
            DamagedArtifact: The file is missing or damaged.
        """
        artifact = self._versions.artifact(manifest.name, manifest.version)
        if artifact is None or artifact.retired:
            raise self._versions.not_found(manifest.name, manifest.version)
        return self._artifacts.read(artifact, CONTENT)

    def load(self, manifest: PromptManifest) -> PromptFile:
        """Load the prompt; raises like ``content``, and InvalidRequest for a posterior."""
        return self.load_posterior(require_prompt(manifest, ref=manifest.ref))

    def load_posterior(self, manifest: PromptManifest) -> PromptFile:
        """Load a posterior, or a prompt; raises like ``content``."""
        return read_stored(
            self.content(manifest),
            label=f"prompt {manifest.ref}",
            n_virtual=manifest.n_virtual,
            d_model=manifest.d_model,
            layers=manifest.layers,
        )

    def list_names(self, *, limit: int = 20, after: str | None = None) -> Page[PromptSummary]:
        """Names after the cursor ``after``, in order. Names without an intact version are left out."""
        check_limit(limit)
        found = from_index_or_files(
            lambda names: list(islice(filter(None, map(self._summary, names)), limit + 1)),
            index=self._index,
            candidates=lambda index: index.names("prompt", after=after),
            files=lambda: (name for name in self._artifacts.names("prompts") if after is None or name > after),
        )
        has_more = len(found) > limit
        return Page(items=found[:limit], has_more=has_more, next=found[limit - 1].name if has_more else None)

    def list_versions(self, name: str, *, limit: int = 20, after: str | None = None) -> Page[PromptManifest]:
        """Versions of a name older than the cursor ``after``, newest first; raises NotFound for an unknown name."""
        check_name(name)
        check_limit(limit)
        if after is not None and not (after.isascii() and after.isdecimal() and len(after) < 10):
            raise InvalidRequest(
                f"The cursor of a list of versions is a version number; got {after[:80]!r}.", loc=("after",)
            )
        below = None if after is None else int(after)
        found = list(islice(self._versions.newest_first(name, below=below, on_damage=log_damage), limit + 1))
        if not found and self._summary(name) is None:
            raise self._versions.not_found(name)
        has_more = len(found) > limit
        return Page(items=found[:limit], has_more=has_more, next=str(found[limit - 1].version) if has_more else None)

    def delete(self, name: str, *, version: int) -> None:
        """Delete one version; its number is not reused.

        Raises:
            Conflict: An alias points to it.
            NotFound: There is no such version.
        """
        check_name(name)
        artifact = self._versions.artifact(name, version)
        if artifact is not None and artifact.retired:
            # Completes a deletion that was interrupted.
            self._artifacts.discard_files(artifact)
        if artifact is None or artifact.retired:
            raise self._versions.not_found(name, version)
        self._aliases.refuse_if_any(name, version)
        self._artifacts.retire(artifact)
        self._references.forget(name, version)
        # Checked again, because an alias may have been set meanwhile; set_alias also checks again after writing.
        try:
            self._aliases.refuse_if_any(name, version)
        except Conflict:
            self._artifacts.restore(artifact)
            raise
        self._artifacts.discard_files(artifact)
        self._artifacts.remove_record(hint_key(manifest_in(artifact)))

    def set_alias(self, name: str, *, alias: str, version: int) -> PromptManifest:
        """Point ``name@alias`` to ``version``; raises NotFound if there is no such version."""
        check_alias(alias)
        manifest = self.get(name, version=version)
        before = self._aliases.record(name, alias)
        self._aliases.set(name, alias, version=version, now=self._clock())
        if self._versions.live(name, version) is None:
            self._aliases.restore(name, alias, record=before)
            raise self._versions.not_found(name, version)
        return manifest

    def delete_alias(self, name: str, *, alias: str) -> None:
        """Delete an alias; raises NotFound if it does not exist."""
        check_name(name)
        check_alias(alias)
        if not self._aliases.exists(name, alias):
            raise NotFound(f"Prompt {name!r} has no alias {alias!r}.")
        self._aliases.remove(name, alias)

    def aliases(self, name: str) -> dict[str, int]:
        """Versions by alias of a name, sorted; empty for an unknown name."""
        return self._aliases.all_of(check_name(name))

    def _manifest_for(self, name: str, *, version: int, prompt: PromptFile, provenance: Provenance) -> PromptManifest:
        return PromptManifest(
            name=name,
            version=version,
            kind=prompt.kind,
            n_virtual=prompt.n_virtual,
            layers=prompt.layers,
            d_model=prompt.d_model,
            base=prompt.base,
            base_revision=prompt.base_revision,
            sha256=prompt.sha256,
            created_at=write_time(self._clock()),
            where=prompt.where,
            notes=prompt.notes,
            seed=provenance.seed,
            run_id=provenance.run_id,
            prior=provenance.prior,
            metrics=provenance.metrics,
            parent=provenance.parent,
            member_kind=prompt.member_kind,
            members=prompt.members,
            normal=None if prompt.normal is None else prompt.normal.model_dump(),
        )

    def _find_same(self, name: str, prompt: PromptFile) -> PromptManifest | None:
        """The intact version of ``name`` with this content, base and revision."""
        for manifest in self._versions.with_hash(prompt.sha256, on_damage=log_damage):
            is_same_base = (manifest.base, manifest.base_revision) == (prompt.base, prompt.base_revision)
            if manifest.name == name and is_same_base and self._is_intact(manifest):
                return manifest
        return None

    def _is_intact(self, manifest: PromptManifest) -> bool:
        # Uploading a damaged prompt again must repair it, not return the damaged version.
        try:
            self.content(manifest)
        except DamagedArtifact as error:
            log_damage(error)
            return False
        except NotFound:
            return False
        return True

    def _summary(self, name: str) -> PromptSummary | None:
        manifests = list(self._versions.newest_first(name, on_damage=log_damage))
        if not manifests:
            return None
        return PromptSummary(
            name=name,
            latest=manifests[0].version,
            versions=tuple(manifest.version for manifest in manifests),
            kind=manifests[0].kind,
            base=manifests[0].base,
            aliases=self._aliases.all_of(name),
        )
