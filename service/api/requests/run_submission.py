"""Starting a run: its spec is checked and completed, the run stored, and put in line for a worker."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from promptatlas.types import RunKind

from service.api.requests.bodies import JSON_TYPE
from service.api.requests.idempotency import respond_once
from service.api.responses.runs import run_answer
from service.api.services import Services
from service.errors import Unavailable
from service.planning.checks.encoder_decoders import EncoderDecoderConfigs
from service.planning.context import PlanningContext
from service.planning.run_kinds import plan
from service.planning.specs import BrokenSpec, Loc
from service.queueing.queue import RunQueue
from service.store.idempotency import StoredResponse

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A run that is asked for. at: where its spec stands in the request, for errors."""

    kind: RunKind
    spec: Mapping[str, Any]
    name: str | None = None
    at: Loc = ()


async def start_run(request: Request, services: Services, *, wanted: Wanted, key: str | None, caller: str) -> Response:
    """Answer with the stored run, 202.

    Raises:
        Unavailable: there is no queue here, or no engine has been ready yet; nothing is stored.
        RequestValidationError, NotFound, InvalidRequest: the spec cannot work; nothing is stored.
    """
    body = await request.body()

    def start() -> StoredResponse:
        return _start(services, wanted)

    return await respond_once(request, services.idempotency, key=key, caller=caller, body=body, work=start)


def require_queue(services: Services) -> RunQueue:
    """The queue; Unavailable where the server has none, so that no run could ever begin."""
    if services.queue is None:
        raise Unavailable(
            "This server has no queue for runs: set PROMPTATLAS_REDIS_URL, or start it such that it brings its own."
        )
    return services.queue


def put_in_line(queue: RunQueue, run_id: str, *, attempt: int) -> None:
    """Put a stored run in line; while the queue is out of reach it is left to the reconciler, which looks for such runs."""
    try:
        queue.enqueue(run_id, attempt)
    except Unavailable as error:
        _log.warning("run not yet in line", run_id=run_id, error=error.detail)


def position_of(queue: RunQueue | None, run_id: str) -> int | None:
    """How many runs are before it; None when it is not in line, or that cannot be known now."""
    return positions_of(queue).get(run_id)


def positions_of(queue: RunQueue | None) -> Mapping[str, int]:
    """How many runs are before each one in line; empty when that cannot be known now."""
    if queue is None:
        return {}
    try:
        return queue.positions()
    except Unavailable:
        return {}


def _start(services: Services, wanted: Wanted) -> StoredResponse:
    queue = require_queue(services)
    try:
        planned = plan(wanted.kind, wanted.spec, around=_surroundings(services), at=wanted.at)
    except BrokenSpec as error:
        raise RequestValidationError([{"loc": fault.loc, "msg": fault.msg} for fault in error.faults]) from None
    record = services.runs.create(wanted.kind, spec=planned.spec, name=wanted.name, resolved=planned.resolved)
    put_in_line(queue, record.id, attempt=1)
    _, state = services.runs.get(record.id)
    answer = run_answer(record, state, position=position_of(queue, record.id))
    return StoredResponse(
        status=202,
        headers={"Location": f"/v1/runs/{record.id}", "Content-Type": JSON_TYPE},
        body=answer.model_dump_json().encode(),
    )


def _surroundings(services: Services) -> PlanningContext:
    models = services.hub.last_state().models
    return PlanningContext(
        models=models,
        prompts=services.prompts,
        datasets=services.datasets,
        memory_bytes=_worker_memory_bytes(services, models),
        maps=services.maps,
        read_models=EncoderDecoderConfigs(services.settings.read_models),
        max_harvest_bytes=services.settings.max_harvest_bytes,
    )


def _worker_memory_bytes(services: Services, models: Mapping[str, Mapping[str, Any]]) -> int | None:
    """This machine's memory, where workers run here and on the CPU; None where a worker's is not known."""
    if services.settings.workers == 0 or any(card["device"] != "cpu" for card in models.values()):
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
