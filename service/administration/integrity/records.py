"""Check of sealed records that no other check reads: plans, expiry records, replayed answers."""

from __future__ import annotations

from collections.abc import Iterator

from service.administration.integrity.problems import Problem, Repair
from service.administration.integrity.quarantine import Quarantine
from service.administration.inventory import Inventory, folder_of, name_of
from service.errors import DamagedArtifact
from service.store.artifacts.store import MANIFEST, ArtifactStore

_BATCH_SIZE = 64
_ADVICE = {
    "plan.json": "run fsck --repair: the next attempt makes the plan again",
    "expired.json": "run fsck --repair: the run no longer names its expired parts",
    "idempotency": "run fsck --repair: a repeated request with this Idempotency-Key is executed again",
}


class RecordChecks:
    """Checks single records.

    Args:
        artifacts: The store.
        quarantine: Where damaged records are moved by a repair.
        inventory: A listing of the store.
    """

    def __init__(self, artifacts: ArtifactStore, *, quarantine: Quarantine, inventory: Inventory) -> None:
        self._artifacts = artifacts
        self._quarantine = quarantine
        self._inventory = inventory

    def check(self) -> Iterator[Problem]:
        """Records that do not match their own hash."""
        keys = [entry.key for entry in self._inventory.stored() if _is_single(entry.key)]
        for start in range(0, len(keys), _BATCH_SIZE):
            batch = {key: key for key in keys[start : start + _BATCH_SIZE]}
            for key, found in self._artifacts.get_records(batch).items():
                # Read again, because a filesystem may show a file while it is replaced.
                if isinstance(found, DamagedArtifact) and self._is_damaged(key):
                    yield self._problem(key)

    def _is_damaged(self, key: str) -> bool:
        try:
            self._artifacts.get_record(key, label=key)
        except DamagedArtifact:
            return True
        return False

    def _problem(self, key: str) -> Problem:
        def perform() -> None:
            self._quarantine.move_record(key)

        advice = _ADVICE.get(name_of(key)) or _ADVICE.get(key.split("/", 1)[0])
        repair = Repair(done="moved to the quarantine", perform=perform, cures=True)
        return Problem(
            key=key,
            what=f"the record {key} is damaged: its content does not match its own hash.",
            advice=advice or "restore the file from a backup",
            repair=None if advice is None else repair,
        )


def _is_single(key: str) -> bool:
    """Whether a key is that of a record that no other check reads."""
    name, folder = name_of(key), folder_of(key)
    is_of_other_check = (
        name in (MANIFEST, "state.json")
        or folder.endswith(("/aliases", "/events"))
        or key.startswith(("prompt-hashes/", "runs-unfinished/"))
        or name.startswith("_")
    )
    return name.endswith(".json") and not is_of_other_check
