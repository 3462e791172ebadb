"""The stored plan of a run: how it is divided into shards, and what they are computed from. All its workers read it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

from service.errors import DamagedArtifact
from service.store.artifacts.store import ArtifactStore


class Plan(Protocol):
    """A plan of a kind of run."""

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values."""


AnyPlan = TypeVar("AnyPlan", bound=Plan)


class PlanRecord(Generic[AnyPlan]):
    """The plan of one run.

    Args:
        parse: ``(values, label) -> plan``, inverse of ``to_json``; raises DamagedArtifact.
    """

    def __init__(
        self, artifacts: ArtifactStore, *, run_id: str, parse: Callable[[Mapping[str, Any], str], AnyPlan]
    ) -> None:
        self._artifacts = artifacts
        self._key = plan_key(run_id)
        self._label = f"the plan of run {run_id}"
        self._parse = parse

    def load(self) -> AnyPlan | None:
        """The plan, or None if there is none yet; raises DamagedArtifact."""
        found = self._artifacts.get_record(self._key, label=self._label)
        return None if found is None else self._parse(found, self._label)

    def load_intact(self, *, log: Callable[[str], None]) -> AnyPlan | None:
        """As ``load``; None for a damaged plan, which ``log`` receives: the same run makes the same plan again."""
        try:
            return self.load()
        except DamagedArtifact as error:
            log(error.detail)
            return None

    def save(self, plan: AnyPlan) -> None:
        """Store the plan, replacing an earlier one."""
        self._artifacts.put_record(self._key, plan.to_json())


def plan_key(run_id: str) -> str:
    """Key of the record of a run's plan."""
    return f"runs/{run_id}/plan.json"
