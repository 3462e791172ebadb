"""Aliases of prompts: movable names of a version, stored as sealed records ``prompts/{name}/aliases/{alias}.json``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from service.errors import Conflict, DamagedArtifact
from service.store.artifacts.clock import write_time
from service.store.artifacts.store import ArtifactStore


class PromptAliases:
    """The aliases in an artifact store; does not check that their versions exist."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts

    def version_of(self, name: str, alias: str) -> int | None:
        """The version of an alias, or None; raises DamagedArtifact."""
        return self.version_in(self._artifacts.get_records(self.labels(name, alias)), name, alias)

    def labels(self, name: str, alias: str) -> dict[str, str]:
        """Key and label of an alias's record, for ``ArtifactStore.get_records``."""
        return {_key(name, alias): f"alias {name}@{alias}"}

    def version_in(self, records: Mapping[str, dict[str, Any] | DamagedArtifact], name: str, alias: str) -> int | None:
        """The version of an alias in records that were read, or None; raises DamagedArtifact."""
        record = records.get(_key(name, alias))
        if record is None:
            return None
        if isinstance(record, DamagedArtifact):
            raise record
        version = record.get("version")
        if not isinstance(version, int):
            raise DamagedArtifact(f"alias {name}@{alias} is damaged: it has no version.")
        return version

    def all_of(self, name: str) -> dict[str, int]:
        """Versions by alias of a name, sorted."""
        entries = self._artifacts.names(f"prompts/{name}/aliases")
        found = {entry.removesuffix(".json"): self.version_of(name, entry.removesuffix(".json")) for entry in entries}
        return {alias: version for alias, version in found.items() if version is not None}

    def record(self, name: str, alias: str) -> dict[str, Any] | None:
        """The stored record of an alias, for ``restore``."""
        return self._artifacts.get_record(_key(name, alias), label=f"alias {name}@{alias}")

    def set(self, name: str, alias: str, *, version: int, now: datetime) -> None:
        """Point an alias to ``version``."""
        self._artifacts.put_record(_key(name, alias), {"version": version, "set_at": write_time(now)})

    def restore(self, name: str, alias: str, *, record: dict[str, Any] | None) -> None:
        """Restore an alias to ``record``; None removes it."""
        if record is None:
            self.remove(name, alias)
        else:
            self._artifacts.put_record(_key(name, alias), record)

    def exists(self, name: str, alias: str) -> bool:
        """Whether an alias exists, even if it is damaged."""
        return f"{alias}.json" in self._artifacts.names(f"prompts/{name}/aliases")

    def remove(self, name: str, alias: str) -> None:
        """Remove an alias; no error if it does not exist."""
        self._artifacts.remove_record(_key(name, alias))

    def refuse_if_any(self, name: str, version: int) -> None:
        """Raise Conflict if an alias points to ``version``."""
        pointing = [f"{name}@{alias}" for alias, number in self.all_of(name).items() if number == version]
        if pointing:
            raise Conflict(
                f"Prompt {name}@{version} is served as {', '.join(pointing)}; move or delete the alias first."
            )


def _key(name: str, alias: str) -> str:
    return f"prompts/{name}/aliases/{alias}.json"
