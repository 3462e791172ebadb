"""Dry runs: a spec is validated and completed, and its memory and duration are estimated. Nothing is stored."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from promptatlas.types import RunKind, RunPlan

from service.api.run_submission import RunRequest, plan_run, planning_context
from service.api.services import Services
from service.planning.estimates import are_comparable, least_memory_bytes, work_of

N_SEARCHED = 100
"""Number of the newest succeeded runs among which a comparable one is searched."""


def dry_run(services: Services, run: RunRequest) -> RunPlan:
    """The complete spec of a run whose datasets are stored, with estimates. May block.

    Raises:
        Unavailable: no engine has been ready yet.
        RequestValidationError, NotFound, InvalidRequest: the spec cannot work.
    """
    context = planning_context(services)
    planned = plan_run(run, context=context)
    duration_s, source = _predicted_s(services, run.kind, spec=planned.spec)
    return RunPlan(
        kind=run.kind,
        spec=dict(planned.spec),
        resolved=dict(planned.resolved),
        memory_bytes=least_memory_bytes(run.kind, planned.spec, context=context),
        duration_s=duration_s,
        predicted_from=source,
    )


def _predicted_s(services: Services, kind: RunKind, *, spec: Mapping[str, Any]) -> tuple[float | None, str | None]:
    """Predicted duration in seconds, and the id of the run that it is predicted from."""
    work = work_of(kind, spec)
    if work is None:
        return None, None
    for record, state in services.runs.list_runs(kind=kind, status="succeeded", limit=N_SEARCHED, after=None).items:
        # An attempt that was interrupted would count its work twice.
        if state.attempts != 1 or state.started_at is None or state.ended_at is None:
            continue
        if are_comparable(record.spec, spec):
            seconds = datetime.fromisoformat(state.ended_at) - datetime.fromisoformat(state.started_at)
            return seconds.total_seconds() * work / (work_of(kind, record.spec) or work), record.id
    return None, None
