"""Copying of a whole store that services may use meanwhile.

The order makes every object whole or absent, at whatever step the copy ends, and whatever is written meanwhile:

1. Logs of runs. What the state of a run implies, such as its outputs and prompts, was stored before, and is copied later.
2. Artifacts: their contents, then their manifests; those of runs last.
3. Single records of these runs.
4. Pointers: the indexes of prompts and unfinished runs are made from what was copied, so they agree with it; aliases are
   copied, each after the version that it names.

Not copied: the queue in Redis, leases, replayed answers, temporary files, contents without a manifest, the quarantine.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress

from service.administration.copies.artifact_copy import ArtifactCopy
from service.administration.copies.destination import Destination
from service.administration.integrity.artifacts import is_run
from service.administration.inventory import Inventory, folder_of, name_of
from service.errors import DamagedArtifact
from service.store.artifacts.manifests import MANIFEST, Artifact
from service.store.artifacts.sealed_records import seal, unseal
from service.store.artifacts.store import ArtifactStore
from service.store.files.files import Files
from service.store.prompts.aliases import PromptAliases
from service.store.prompts.versions import hint_key, manifest_in, version_folder
from service.store.runs.ids import is_run_id
from service.store.runs.log.chain import RunLog
from service.store.runs.records import Chunk
from service.store.runs.unfinished import unfinished_key

MARKS = frozenset({"backup.json", "restore.json"})
"""Records of the copies themselves."""

_OMITTED = frozenset({"idempotency", "prompt-hashes", "runs-unfinished"})
_MAX_TRIES = 5


class StoreCopy:
    """One copy of a store.

    Args:
        source: The store.
        destination: Where it is copied to.
    """

    def __init__(self, source: Files, *, destination: Destination) -> None:
        self._source = source
        self._artifacts = ArtifactStore("", files=source)
        self._destination = destination
        self._copy = ArtifactCopy(source, destination=destination)
        self._live: set[str] = set()
        self._earlier: list[str] = []
        self._withdrawn: list[Artifact] = []

    def run(self) -> None:
        """Copy everything; problems are in the destination's report."""
        ends = self._copy_logs(Inventory(self._source))
        # Listed again, because what the logs imply may have been written since.
        listed = Inventory(self._source)
        folders = [folder for folder in listed.artifact_folders() if _belongs(folder, ends)]
        for folder in sorted(folders, key=lambda folder: (is_run(folder), folder)):
            if is_run(folder) and self._destination.replaces:
                # Before the record, as when a run is created. In a service's store, the reconciler would take an entry
                # without a record for a failed creation.
                self._write_hints(name_of(folder), ends[name_of(folder)])
            self._copy_artifact(folder)
        self._copy_records(listed, ends)
        if not self._destination.replaces:
            self._write_hints_late(ends)
        self._copy_aliases(listed)
        self._withdraw()

    def _copy_logs(self, listed: Inventory) -> dict[str, Chunk]:
        """The last chunks of the copied runs."""
        ends: dict[str, Chunk] = {}
        for run_id in filter(is_run_id, listed.names("runs")):
            folder = f"runs/{run_id}"
            if not self._destination.replaces and self._destination.present.get(f"{folder}/{MANIFEST}") is not None:
                # Its log may go on in the destination. Two logs of one run cannot be merged.
                self._earlier.append(run_id)
                continue
            if not self._has_record(folder):
                continue
            last = self._copy.copy_log(run_id)
            if last is None:
                self._keep_run(run_id)
            else:
                ends[run_id] = last
        return ends

    def _has_record(self, folder: str) -> bool:
        try:
            record = self._artifacts.get(folder, label=f"run {name_of(folder)}")
        except DamagedArtifact as error:
            self._destination.problem(error.detail)
            self._keep_run(name_of(folder))
            return False
        return record is not None and not record.retired

    def _keep_run(self, run_id: str) -> None:
        """Leave what the destination has of a damaged run."""
        self._destination.keep_folder(f"runs/{run_id}")
        for entry in self._destination.present.under("runs-unfinished"):
            if name_of(entry.key).startswith(f"{run_id}."):
                self._destination.keep(entry.key)

    def _copy_artifact(self, folder: str) -> None:
        artifact = self._copy.copy(folder)
        if artifact is None:
            return
        if artifact.retired:
            self._withdrawn.append(artifact)
            return
        self._live.add(folder)
        if folder.startswith("prompts/"):
            # That of an intact copy from before stays, too.
            self._destination.keep(hint_key(manifest_in(artifact)))

    def _copy_records(self, listed: Inventory, ends: Collection[str]) -> None:
        for entry in listed.stored():
            if not _is_single_record(entry.key) or not _belongs(entry.key, ends):
                continue
            data = self._source.read_many([entry.key]).get(entry.key)
            if data is None:
                continue
            try:
                unseal(data, label=f"the record {entry.key}")
            except DamagedArtifact as error:
                self._destination.problem(error.detail)
                self._destination.keep(entry.key)
                continue
            self._destination.put(entry.key, data)

    def _write_hints(self, run_id: str, last: Chunk) -> None:
        self._destination.put(f"runs/{run_id}/state.json", seal({"first_id": last.first_id}))
        if not last.state.has_ended:
            self._destination.put(unfinished_key(run_id, last.state.queued_id), seal({"run_id": run_id}))

    def _write_hints_late(self, ends: Mapping[str, Chunk]) -> None:
        """Write the hints of restored runs, also of those that an interrupted restore has left without."""
        for run_id, last in ends.items():
            if f"runs/{run_id}" in self._live:
                self._write_hints(run_id, last)
        log = RunLog(ArtifactStore("", files=self._destination.files))
        for run_id in self._earlier:
            with suppress(DamagedArtifact):
                state = log.head(run_id).state
                if not state.has_ended:
                    self._destination.put(unfinished_key(run_id, state.queued_id), seal({"run_id": run_id}))

    def _copy_aliases(self, listed: Inventory) -> None:
        for name in listed.names("prompts"):
            for entry in self._artifacts.names(f"prompts/{name}/aliases"):
                self._copy_alias(name, entry.removesuffix(".json"))

    def _copy_alias(self, name: str, alias: str) -> None:
        key = f"prompts/{name}/aliases/{alias}.json"
        if not self._destination.replaces and self._destination.has(key):
            return
        aliases = PromptAliases(self._artifacts)
        for _ in range(_MAX_TRIES):
            try:
                record = aliases.record(name, alias)
                version = aliases.version_of(name, alias)
            except DamagedArtifact as error:
                self._destination.problem(error.detail)
                self._destination.keep(key)
                return
            if record is None or version is None:
                return
            folder = version_folder(name, version)
            if folder not in self._live:
                # Made since the versions were listed.
                self._copy_artifact(folder)
            if folder in self._live and record.get("version") == version:
                self._destination.put(key, seal(record))
                return
        self._destination.problem(f"alias {name}@{alias} points to a version that does not exist or was not copied.")

    def _withdraw(self) -> None:
        """Copy the markers of deleted versions, after the aliases that named them have moved."""
        for artifact in self._withdrawn:
            key = f"{artifact.folder}/{MANIFEST}"
            if artifact.folder.startswith("prompts/") and artifact.folder not in self._live:
                data = self._source.read_many([key]).get(key)
                if data is not None and not self._destination.put(key, data):
                    self._destination.keep(key)


def _belongs(key: str, run_ids: Collection[str]) -> bool:
    """Whether a key is of a copied run, or of no run."""
    parts = key.split("/")
    return parts[0] != "runs" or parts[1] in run_ids


def _is_single_record(key: str) -> bool:
    """Whether a key is that of a record that is copied as it is."""
    name = name_of(key)
    is_other = (
        key.split("/", 1)[0] in _OMITTED
        or key in MARKS
        or name in (MANIFEST, "state.json")
        or folder_of(key).endswith(("/aliases", "/events"))
    )
    return name.endswith(".json") and not name.startswith("_") and not is_other
