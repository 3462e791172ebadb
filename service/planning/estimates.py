"""Estimates for a planned run: the memory that it needs at least, and its work in units that runs of a kind share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from promptatlas.types import RunKind, TuneSpec

from service.planning.checks.members import members_of
from service.planning.checks.memory import least_need
from service.planning.checks.methods import check_method
from service.planning.context import PlanningContext, Resolver
from service.planning.specs import parse_spec


def least_memory_bytes(kind: RunKind, spec: Mapping[str, Any], *, context: PlanningContext) -> int | None:
    """Lower bound of the memory of a worker, in bytes, for a complete spec; None for kinds without one."""
    if kind != "tune":
        return None
    tune = parse_spec(TuneSpec, spec, at=("spec",))
    base = Resolver(context=context).model(tune.model)
    return least_need(tune, base=base, form=check_method(tune.method, base=base)).total_bytes


def work_of(kind: RunKind, spec: Mapping[str, Any]) -> int | None:
    """Examples that a tuning run trains on, over all members: members × steps × batch size; None for other kinds."""
    if kind != "tune":
        return None
    tune = parse_spec(TuneSpec, spec, at=("spec",))
    return len(members_of(tune)) * tune.optimizer.steps * tune.optimizer.batch_size


def are_comparable(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether the durations of two tuning runs differ mainly by their work: same model, dataset and kind of prompt."""
    return all(first[name] == second[name] for name in ("model", "dataset")) and (
        first["method"]["kind"] == second["method"]["kind"]
    )
