"""Check of a whole store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from service.administration.integrity.artifacts import ArtifactChecks
from service.administration.integrity.problems import Problem
from service.administration.integrity.prompts import PromptChecks
from service.administration.integrity.quarantine import Quarantine
from service.administration.integrity.records import RecordChecks
from service.administration.integrity.runs import RunChecks
from service.administration.inventory import Inventory
from service.store.artifacts.clock import Clock, utc_now
from service.store.artifacts.store import ArtifactStore
from service.store.files.files import Files


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A problem, and what a repair did about it. is_cured: nothing is left to do."""

    problem: Problem
    repaired: str | None = None
    is_cured: bool = False


class StoreCheck:
    """Checks a store; safe while services and workers use it.

    Args:
        files: The store.
        clock: Current time.

    Attributes:
        n_files: Files in the store, at the last ``run``.
    """

    def __init__(self, files: Files, *, clock: Clock = utc_now) -> None:
        self._files = files
        self._artifacts = ArtifactStore("", files=files, clock=clock)
        self._clock = clock
        self.n_files = 0

    def run(self, *, repair: bool = False) -> Iterator[Finding]:
        """All problems, one by one. With ``repair``, each is repaired as far as that loses nothing."""
        inventory = Inventory(self._files)
        self.n_files = len(inventory)
        for problem in self._problems(inventory):
            if not repair or problem.repair is None:
                yield Finding(problem=problem)
                continue
            problem.repair.perform()
            yield Finding(problem=problem, repaired=problem.repair.done, is_cured=problem.repair.cures)

    def _problems(self, inventory: Inventory) -> Iterator[Problem]:
        quarantine = Quarantine(self._files, clock=self._clock)
        artifacts = ArtifactChecks(self._artifacts, quarantine=quarantine, inventory=inventory)
        for folder in inventory.artifact_folders():
            yield from artifacts.check(folder)
        yield from PromptChecks(self._artifacts, inventory=inventory).check()
        yield from RunChecks(self._artifacts, inventory=inventory, clock=self._clock).check()
        yield from RecordChecks(self._artifacts, quarantine=quarantine, inventory=inventory).check()
