"""Submission of runs: validate and complete the spec, store the run, enqueue it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from promptatlas.types import RunKind

from service.api.hub_loads import datasets_in
from service.api.requests.idempotency import created, respond_once
from service.api.responses.runs import run_answer
from service.api.services import Services
from service.api.telemetry.request_record import current_traceparent
from service.errors import AtlasError, QueueUnavailable, Unavailable
from service.hosting.processes.memory import host_memory_bytes
from service.planning.context import PlanningContext
from service.planning.encoder_decoders import EncoderDecoderConfigs
from service.planning.run_kinds import Plan, plan
from service.planning.specs import BrokenSpec, Loc, error_at
from service.queueing.queue import RunQueue
from service.store.idempotency import StoredResponse
from service.store.runs.records import RunRecord, RunState

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """A requested run. at: location of its spec in the request, for errors."""

    kind: RunKind
    spec: Mapping[str, Any]
    name: str | None = None
    at: Loc = ()


async def start_run(request: Request, services: Services, *, run: RunRequest, key: str | None, caller: str) -> Response:
    """Store and enqueue a run; the response is 202 with the stored run.

    Raises:
        Unavailable: the server has no queue, or no engine has been ready yet; nothing is stored.
        Busy, Unavailable: a dataset of the hub is not loaded yet.
        RequestValidationError, NotFound, InvalidRequest: the spec cannot work; nothing is stored.
    """
    body = await request.body()
    await load_datasets(services, run)

    def start() -> StoredResponse:
        return _start(services, run)

    return await respond_once(request, services.idempotency, key=key, caller=caller, body=body, work=start)


def require_queue(services: Services) -> RunQueue:
    """The queue; QueueUnavailable if the server has none, because no run could start."""
    if services.queue is None:
        raise QueueUnavailable(
            "This server has no queue for runs. Expected PROMPTATLAS_REDIS_URL, or an installed redis-server."
        )
    return services.queue


def enqueue(queue: RunQueue, run_id: str, *, attempt: int) -> None:
    """Enqueue a stored run. While the queue is unreachable, the run is left to the reconciler, which finds such runs."""
    try:
        queue.enqueue(run_id, attempt)
    except Unavailable as error:
        _log.warning("run not enqueued yet", run_id=run_id, error=error.detail)


def position_of(queue: RunQueue | None, run_id: str) -> int | None:
    """The number of runs before it; None if it is not queued or the queue is unreachable."""
    return positions_of(queue).get(run_id)


def positions_of(queue: RunQueue | None) -> Mapping[str, int]:
    """The number of runs before each queued run; empty if the queue is unreachable."""
    if queue is None:
        return {}
    try:
        return queue.positions()
    except Unavailable:
        return {}


async def load_datasets(services: Services, run: RunRequest) -> None:
    """Load the hub's datasets of a spec before planning, which reads stored datasets only."""
    for name, loc in datasets_in(run.spec).items():
        await _load_dataset(services, name, at=(*run.at, *loc))


async def _load_dataset(services: Services, name: str, *, at: Loc) -> None:
    try:
        await services.hub.ensure(name)
    except AtlasError as error:
        raise error_at(error, loc=at) from error


def _start(services: Services, run: RunRequest) -> StoredResponse:
    record, state = create_run(services, run)
    stored = run_answer(record, state, position=position_of(services.queue, record.id))
    return created(stored, location=f"/v1/runs/{record.id}", status=202)


def create_run(services: Services, run: RunRequest) -> tuple[RunRecord, RunState]:
    """Store and enqueue a run whose datasets are stored. May block. Raises as ``start_run``."""
    queue = require_queue(services)
    planned = plan_run(run, context=planning_context(services))
    record = services.runs.create(
        run.kind,
        spec=planned.spec,
        name=run.name,
        resolved=planned.resolved,
        traceparent=current_traceparent(),
    )
    enqueue(queue, record.id, attempt=1)
    return services.runs.get(record.id)


def plan_run(run: RunRequest, *, context: PlanningContext) -> Plan:
    """Validate and complete the spec of a run whose datasets are stored. May block. Raises as ``start_run``."""
    try:
        return plan(run.kind, run.spec, context=context, at=run.at)
    except BrokenSpec as error:
        raise RequestValidationError([{"loc": fault.loc, "msg": fault.msg} for fault in error.faults]) from None


def cancel_run(services: Services, run_id: str) -> None:
    """Cancel a run: a queued one at once, a running one soon. May block.

    Raises:
        NotFound, Conflict: there is no such run, or it has ended.
    """
    record, _ = services.runs.get(run_id)
    state = services.runs.request_cancel(run_id)
    if state.has_ended and services.queue is not None:
        with suppress(Unavailable):  # a worker that takes it from the queue finds it cancelled
            services.queue.discard(run_id)
        services.queue.tallies.end_waiting_run(kind=record.kind, status=state.status)


def planning_context(services: Services) -> PlanningContext:
    """What exists on this server now, for planning."""
    models = services.engine.last_state().models
    return PlanningContext(
        models=models,
        prompts=services.prompts,
        datasets=services.datasets,
        memory_bytes=_worker_memory_bytes(services, models),
        maps=services.maps,
        read_models=EncoderDecoderConfigs(services.settings.read_models),
        max_harvest_bytes=services.settings.max_harvest_bytes,
        files=services.files,
        teachers=tuple(teacher.name for teacher in services.settings.teachers),
    )


def _worker_memory_bytes(services: Services, models: Mapping[str, Mapping[str, Any]]) -> int | None:
    """Memory of this host if workers run here and on the CPU; otherwise None."""
    if services.settings.workers == 0 or any(card["device"] != "cpu" for card in models.values()):
        return None
    return host_memory_bytes()
