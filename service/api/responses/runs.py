"""Runs and their artifacts as the wire types."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from promptatlas.types import Progress, Run, RunArtifact, RunExpiry

from service.store.runs.expiry import ExpiredPart
from service.store.runs.records import Output, RunRecord, RunState

RESUMABLE = frozenset({"failed", "cancelled"})


def run_answer(
    record: RunRecord,
    state: RunState,
    *,
    position: int | None = None,
    outputs: Sequence[Output] = (),
    expired: Sequence[ExpiredPart] = (),
) -> Run:
    """One run. position: in the queue; included only while the run is queued."""
    return Run.model_validate(
        {
            "id": record.id,
            "kind": record.kind,
            "name": record.name,
            "spec": dict(record.spec),
            "status": state.status,
            "progress": Progress(**asdict(state.progress)),
            "queue_position": position if state.status == "queued" else None,
            "metrics": dict(state.metrics),
            "error": state.error,
            "artifacts": list(map(artifact_answer, outputs)),
            "expired": [RunExpiry(**asdict(part)) for part in expired],
            "prompts": list(state.prompts),
            "attempts": state.attempts,
            "resumable": state.status in RESUMABLE,
            "created_at": record.created_at,
            "started_at": state.started_at,
            "ended_at": state.ended_at,
            "resolved": dict(record.resolved),
            "notes": state.notes,
            "tags": list(state.tags),
        }
    )


def artifact_answer(output: Output) -> RunArtifact:
    """One artifact of a run."""
    return RunArtifact(path=output.path, n_bytes=output.n_bytes, sha256=output.sha256)
