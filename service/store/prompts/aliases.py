"""PromptAliases of prompts: movable names of one version, each a sealed record ``prompts/{name}/aliases/{alias}.json``."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from service.errors import Conflict, DamagedArtifact
from service.store.artifacts.clock import write_time
from service.store.artifacts.store import ArtifactStore


class PromptAliases:
    """The aliases in an artifact store; knows nothing of the versions that they mean."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts

    def version_of(self, name: str, alias: str) -> int | None:
        """The version that an alias means, None when there is no such alias; DamagedArtifact."""
        record = self.record(name, alias)
        if record is None:
            return None
        version = record.get("version")
        if not isinstance(version, int):
            raise DamagedArtifact(f"alias {name}@{alias} is damaged: it names no version.")
        return version

    def all_of(self, name: str) -> dict[str, int]:
        """PromptAliases of a name and the versions they mean, sorted."""
        entries = self._artifacts.names(f"prompts/{name}/aliases")
        found = {entry.removesuffix(".json"): self.version_of(name, entry.removesuffix(".json")) for entry in entries}
        return {alias: version for alias, version in found.items() if version is not None}

    def record(self, name: str, alias: str) -> dict[str, Any] | None:
        """What is stored of an alias: enough to put it back."""
        return self._artifacts.get_record(_key(name, alias), label=f"alias {name}@{alias}")

    def set(self, name: str, alias: str, *, version: int, now: datetime) -> None:
        """Let an alias mean ``version``, whatever it meant before."""
        self._artifacts.put_record(_key(name, alias), {"version": version, "set_at": write_time(now)})

    def put_back(self, name: str, alias: str, *, record: dict[str, Any] | None) -> None:
        """Make an alias what it was when ``record`` was read; None was no alias."""
        if record is None:
            self.remove(name, alias)
        else:
            self._artifacts.put_record(_key(name, alias), record)

    def exists(self, name: str, alias: str) -> bool:
        """Whether an alias is there, sound or not."""
        return f"{alias}.json" in self._artifacts.names(f"prompts/{name}/aliases")

    def remove(self, name: str, alias: str) -> None:
        """Forget an alias; fine if it is gone."""
        self._artifacts.remove_record(_key(name, alias))

    def refuse_if_any(self, name: str, version: int) -> None:
        """Conflict if an alias means ``version``."""
        pointing = [f"{name}@{alias}" for alias, number in self.all_of(name).items() if number == version]
        if pointing:
            raise Conflict(
                f"Prompt {name}@{version} is served as {', '.join(pointing)}; move or delete the alias first."
            )


def _key(name: str, alias: str) -> str:
    return f"prompts/{name}/aliases/{alias}.json"
