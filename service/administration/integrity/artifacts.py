"""Check of artifacts: manifests are valid, and every file is present with its size and hash."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import unquote

from service.administration.integrity.problems import Problem, Repair
from service.administration.integrity.quarantine import Quarantine
from service.administration.inventory import Inventory
from service.errors import DamagedArtifact, NotFound
from service.store.artifacts.store import MANIFEST, Artifact, ArtifactStore
from service.store.datasets.items import DatasetInfo
from service.store.files.files import BLOCK_BYTES
from service.store.prompts.store import PromptStore
from service.store.prompts.versions import manifest_in
from service.store.runs.summaries import RunSummaries


class ArtifactChecks:
    """Checks artifacts by folder; reads every byte of them.

    Args:
        artifacts: The store.
        quarantine: Where damaged artifacts are moved by a repair.
        inventory: A listing of the store.
    """

    def __init__(self, artifacts: ArtifactStore, *, quarantine: Quarantine, inventory: Inventory) -> None:
        self._artifacts = artifacts
        self._prompts = PromptStore(artifacts)
        self._runs = RunSummaries(artifacts)
        self._quarantine = quarantine
        self._inventory = inventory

    def check(self, folder: str) -> Iterator[Problem]:
        """The problem of the artifact in ``folder``, if there is one. An artifact that was removed meanwhile has none."""
        damage = self._damage(folder)
        # Read again: it may have been replaced or removed between its manifest and its files.
        if damage is not None and (damage := self._damage(folder)) is not None:
            yield Problem(key=folder, what=damage.detail, advice=_advice(folder), repair=self._repair(folder))

    def _damage(self, folder: str) -> DamagedArtifact | None:
        try:
            artifact = self._artifacts.get(folder, label=label_of(folder))
            if artifact is None or artifact.retired:
                return None
            for name in artifact.files:
                with self._artifacts.open(artifact, name) as file:
                    while file.read(BLOCK_BYTES):
                        pass
            self._check_metadata(artifact)
        except DamagedArtifact as error:
            return error
        except NotFound:
            return None
        return None

    def _check_metadata(self, artifact: Artifact) -> None:
        parts = artifact.folder.split("/")
        if parts[0] == "prompts":
            manifest = manifest_in(artifact)
            if [manifest.name, str(manifest.version)] != [parts[1], parts[3]]:
                raise DamagedArtifact(f"{artifact.label} is damaged: its manifest is that of {manifest.ref}.")
            try:
                sha256 = self._prompts.load_posterior(manifest).sha256
            except (KeyError, ValueError, TypeError) as error:
                raise DamagedArtifact(f"{artifact.label} is damaged: its tensors cannot be read.") from error
            if sha256 != manifest.sha256:
                raise DamagedArtifact(f"{artifact.label} is damaged: its tensors do not match its content hash.")
        elif parts[0] == "datasets":
            DatasetInfo.from_json(artifact.metadata, label=artifact.label)
        elif is_run(artifact.folder) and self._runs.record(parts[1]).id != parts[1]:
            raise DamagedArtifact(f"{artifact.label} is damaged: its record is that of another run.")

    def _repair(self, folder: str) -> Repair | None:
        if is_run(folder):
            # Its log and outputs may be intact, and its record is needed to read them.
            return None

        def perform() -> None:
            self._quarantine.move_artifact(folder, inventory=self._inventory)

        return Repair(done="moved to the quarantine, no longer found by requests", perform=perform, cures=False)


def is_run(folder: str) -> bool:
    """Whether the artifact in this folder is the record of a run."""
    return folder.startswith("runs/") and folder.count("/") == 1


def label_of(folder: str) -> str:
    """Name of an artifact in messages, as the rest of the service calls it."""
    parts = folder.split("/")
    if parts[0] == "prompts" and len(parts) == 4:
        return f"prompt {parts[1]}@{parts[3]}"
    if parts[0] == "datasets" and len(parts) == 2:
        return f"dataset {unquote(parts[1])}"
    if is_run(folder):
        return f"run {parts[1]}"
    if parts[0] == "runs" and len(parts) == 4 and parts[2] == "outputs":
        return f"artifact {unquote(parts[3])} of run {parts[1]}"
    if parts[0] == "runs" and len(parts) == 4 and parts[2] == "checkpoints":
        return f"checkpoint in slot {parts[3]} of run {parts[1]}"
    return folder


def _advice(folder: str) -> str:
    if is_run(folder):
        return f"restore {folder}/{MANIFEST} from a backup, or delete the run"
    if folder.startswith("prompts/"):
        return "upload the same content again, which makes a new version, or restore the folder from a backup"
    if folder.startswith("datasets/"):
        return "upload the same file again, or restore the folder from a backup"
    if "/checkpoints/" in folder:
        return "nothing: the run resumes from its other checkpoint, or from the beginning"
    return "start a run with the same spec, or restore the folder from a backup"
