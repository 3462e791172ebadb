"""Health, readiness, metrics, capabilities, and the OpenAPI document."""

from __future__ import annotations

import asyncio
from importlib import metadata
from typing import Any

import structlog
from fastapi import APIRouter, Depends, Request, Response
from promptatlas.types import RUN_KINDS, Capabilities, ComponentState, Health, ReadModel, Ready
from promptatlas.types.forms import FORMS

from service.api.requests.auth import require
from service.api.responses.openapi import problems
from service.api.services import Services, ServicesDep
from service.errors import UnsupportedModel
from service.hosting.ipc.engine_client import EngineClient
from service.hosting.ipc.engine_pool import EnginePool
from service.planning.encoder_decoders import EncoderDecoderConfigs

_log = structlog.get_logger(__name__)

open_router = APIRouter(tags=["system"])
router = APIRouter(tags=["system"], dependencies=[Depends(require("read"))])

_NOT_READY: dict[int | str, dict[str, Any]] = {
    503: {"model": Ready, "description": "Not ready; the component states say why."}
}


@open_router.get("/health")
async def health() -> Health:
    """Report that the API process is running."""
    return Health()


@open_router.get("/ready", responses=_NOT_READY)
async def ready(services: ServicesDep, response: Response) -> Ready:
    """Report whether requests can run the model. Redis, workers and the file of API keys are included, but do not affect it."""
    store, redis = await asyncio.gather(services.checks.store(), services.checks.redis())
    engine = _engine_state(services.engine)
    is_ready = engine.status == "ok" and store.status == "ok"
    if not is_ready:
        response.status_code = 503
        response.headers["Retry-After"] = "2"
    return Ready(
        status="ready" if is_ready else "not_ready",
        engine=engine,
        engines=list(map(_engine_state, services.engine.engines)),
        store=store,
        redis=redis,
        workers=_workers_state(services, redis),
        keys=services.keys.state(),
    )


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **problems(401, 403)},
)
async def metrics(services: ServicesDep) -> Response:
    """Return metrics of requests, engine, runs, workers and store in Prometheus' text format."""
    store = await services.checks.store()
    body = await asyncio.to_thread(services.metrics.render, store_is_up=store.status == "ok")
    return Response(body, media_type=services.metrics.content_type)


@router.get("/v1/capabilities", responses=problems(401, 403, 503))
async def capabilities(services: ServicesDep) -> Capabilities:
    """Return the limits of this server, and the versions of its libraries."""
    settings, state = services.settings, services.engine.last_state()
    cards = list(state.models.values())
    versions = {name: version for card in cards for name, version in card["versions"].items()}
    return Capabilities(
        max_batch=settings.max_batch,
        max_waiting=settings.max_waiting,
        max_tokens=max(card["n_positions"] for card in cards),
        max_inputs=4096,
        max_n=128,
        max_capture_bytes=settings.max_capture_bytes,
        max_json_bytes=settings.max_json_bytes,
        max_upload_bytes=settings.max_upload_bytes,
        max_timeout_s=settings.max_timeout_s,
        max_harvest_bytes=settings.max_harvest_bytes,
        read_models=await asyncio.to_thread(_read_models, EncoderDecoderConfigs(settings.read_models)),
        teachers=[teacher.name for teacher in settings.teachers],
        prompt_kinds=list(FORMS),
        run_kinds=list(RUN_KINDS),
        versions={**versions, "api": "1", "promptatlas": _own_version()},
    )


@router.get("/openapi.json", include_in_schema=False)
async def openapi(request: Request) -> dict[str, Any]:
    """The OpenAPI document."""
    described: dict[str, Any] = request.app.openapi()
    return described


def _read_models(models: EncoderDecoderConfigs) -> list[ReadModel]:
    """The models whose configuration can be read. A harvest of another one is refused with the reason."""
    found = []
    for name in models.names:
        try:
            shape = models.get(name)
        except UnsupportedModel as error:
            _log.warning("model cannot be read", name=name, reason=error.detail)
            continue
        if shape is not None:
            found.append(
                ReadModel(
                    name=name,
                    architecture=shape.model_type,
                    n_encoder_layers=shape.n_layers["encoder"],
                    n_decoder_layers=shape.n_layers["decoder"],
                    d_model=shape.d_model,
                    n_positions=shape.n_positions,
                    sites=list(shape.sites),
                )
            )
    return found


def _engine_state(engine: EnginePool | EngineClient) -> ComponentState:
    if engine.draining:
        return ComponentState(status="lost", detail="stopping")
    return ComponentState(status=engine.status)


def _workers_state(services: Services, redis: ComponentState) -> ComponentState:
    if services.queue_watch is None or redis.status != "ok":
        return ComponentState(status=redis.status, detail="runs need Redis")
    numbers = services.queue_watch.numbers
    if numbers is None or (numbers.n_workers == 0 and services.settings.workers > 0):
        return ComponentState(status="starting")
    if numbers.n_workers == 0:
        return ComponentState(status="off", detail="no workers on any host: runs stay queued", count=0)
    n_workers = numbers.n_workers
    return ComponentState(status="ok", detail=f"{n_workers} workers, running or idle", count=n_workers)


def _own_version() -> str:
    try:
        return metadata.version("promptatlas")
    except metadata.PackageNotFoundError:  # not installed, run from a checkout
        return "unknown"
