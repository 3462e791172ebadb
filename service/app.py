"""Composition root of the API process: assembles its application."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

from fastapi import FastAPI
from redis.asyncio import Redis

from service.administration.growth.sweep import RetentionSweep
from service.api.hub_loads import HubLoads
from service.api.keys.key_ring import KeyRing
from service.api.keys.limits import KeyLimits
from service.api.keys.minute_counters import MinuteCounters
from service.api.middleware_stack import add_middleware
from service.api.openai import routes as openai
from service.api.readiness import ComponentChecks
from service.api.responses.errors import install_handlers
from service.api.responses.openapi import describe
from service.api.routes import (
    activations,
    batches,
    datasets,
    embeddings,
    files,
    maps,
    models,
    priors,
    prompts,
    system,
    tokenize,
    trajectories,
)
from service.api.routes import nearest_tokens as prompt_tokens
from service.api.routes.page import default_page_path, page_router
from service.api.routes.runs import runs
from service.api.services import Services
from service.api.telemetry.metrics import Metrics
from service.api.telemetry.request_record import note_job
from service.hosting.ipc.engine_client import EngineClient
from service.hosting.ipc.engine_connection import run_engine_client
from service.hosting.ipc.engine_pool import EnginePool
from service.hosting.ipc.transport import ApiEndpoint
from service.projection.placement import PlacementProcess
from service.projection.space_neighbours import SpaceNeighbours
from service.queueing.monitor import QueueMonitor
from service.queueing.queue import RunQueue
from service.queueing.reconciler import Reconciler
from service.settings import Settings, default_datasets_path
from service.store.artifacts.settled_folders import SettledFolders
from service.store.artifacts.store import ArtifactStore
from service.store.client_files import ClientFiles
from service.store.datasets.hub import load_rows
from service.store.datasets.store import DatasetStore
from service.store.disk_space import disk_space
from service.store.host_cache import host_cache_folder
from service.store.housekeeping import Housekeeper
from service.store.idempotency import IdempotencyStore
from service.store.index.index import store_id
from service.store.index.opening import open_index
from service.store.index_upkeep import IndexUpkeep
from service.store.maps.store import MapStore
from service.store.prompts.store import PromptStore
from service.store.runs.store import RunStore
from service.tracing.spans import Tracer

PROMPT_FRESH_S = 1.0
"""For which a version named by number or hash is used without a read of the store. Bounds how long a version that another
service deleted still answers here."""

Background = Callable[[], Awaitable[None]]


def create_app(services: Services, *, background: Background | None = None, tracer: Tracer | None = None) -> FastAPI:
    """The FastAPI application.

    Args:
        background: runs while it is up, for example the connection to the engine.
        tracer: makes the spans of requests; None without traces.
    """
    app = FastAPI(
        title="Prompt Atlas",
        version="1",
        description="Tuned prompts of one frozen language model: completions, activations and trajectories under them.",
        lifespan=functools.partial(_lifespan, services=services, background=background, tracer=tracer),
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.services = services
    install_handlers(app)
    for module in (
        system,
        models,
        openai,
        tokenize,
        embeddings,
        activations,
        trajectories,
        prompts,
        prompt_tokens,
        datasets,
        runs,
        priors,
        maps,
        files,
        batches,
    ):
        app.include_router(module.router)
    app.include_router(system.open_router)
    app.include_router(page_router(default_page_path()))
    app.openapi = functools.partial(describe, app)  # type: ignore[method-assign]
    add_middleware(app, services, tracer=tracer)
    return app


def create_services(settings: Settings, *, engines: Sequence[EngineClient]) -> Services:
    """The parts of the API process, on the store and the Redis of the settings."""
    engine = EnginePool(engines, models=[source.name for source in settings.model_sources])
    engine.observer = note_job
    artifacts = ArtifactStore(settings.home)
    index = open_index(artifacts, home=settings.home, index=settings.index, cache=settings.cache)
    store = RunStore(artifacts, index=index)
    open_datasets = functools.partial(
        DatasetStore,
        artifacts,
        builtin=default_datasets_path(cwd=Path.cwd()),
        max_bytes=settings.max_dataset_bytes,
        index=index,
    )
    map_store = MapStore(artifacts, runs=store)
    redis, queue, monitor = None, None, None
    if settings.redis_url is not None:
        redis = Redis.from_url(settings.redis_url, socket_connect_timeout=1, socket_timeout=1)
        queue = RunQueue.at(settings.redis_url)
        monitor = QueueMonitor(queue, Reconciler(queue, store, max_attempts=settings.run_attempts))
    return Services(
        settings=settings,
        keys=KeyRing.of(settings),
        limits=KeyLimits(settings, counters=MinuteCounters.at(settings.redis_url)),
        engine=engine,
        prompts=PromptStore(artifacts, index=index, fresh_s=PROMPT_FRESH_S),
        datasets=open_datasets(load_hub=None),
        hub=HubLoads(open_datasets(load_hub=load_rows)),
        files=ClientFiles(artifacts),
        runs=store,
        maps=map_store,
        index=index,
        placer=PlacementProcess(map_store, home=settings.home),
        neighbours=SpaceNeighbours(map_store),
        queue=queue,
        queue_watch=monitor,
        idempotency=IdempotencyStore(artifacts),
        metrics=Metrics(engine, queue_watch=monitor, disk=functools.partial(disk_space, settings.home)),
        checks=ComponentChecks(check_store=artifacts.check, redis=redis),
    )


async def run_background(services: Services, *, connections: Sequence[tuple[EngineClient, ApiEndpoint]]) -> None:
    """Background work, until cancelled: connections to the engines, housekeeping, and the state of the queue."""
    monitor = services.queue_watch
    artifacts = ArtifactStore(services.settings.home)
    upkeep = None if services.index is None else IndexUpkeep(artifacts, index=services.index)
    housekeeper = Housekeeper(
        artifacts,
        idempotency=services.idempotency,
        settled=_settled(services.settings),
        retain=RetentionSweep(services.settings).run,
    )
    await asyncio.gather(
        *(run_engine_client(client, endpoint) for client, endpoint in connections),
        housekeeper.run_beside(),
        *([] if monitor is None else [monitor.run_forever()]),
        *([] if upkeep is None else [upkeep.run_forever()]),
    )


def _settled(settings: Settings) -> SettledFolders | None:
    if settings.home.startswith("memory://"):
        return None
    folder = host_cache_folder(settings.home, cache=settings.cache) / "swept"
    return SettledFolders(folder / store_id(settings.home))


@contextlib.asynccontextmanager
async def _lifespan(
    _app: FastAPI, *, services: Services, background: Background | None, tracer: Tracer | None
) -> AsyncIterator[None]:
    task = None if background is None else asyncio.ensure_future(background())
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await services.placer.close()
        await services.checks.close()
        await services.limits.close()
        if services.index is not None:
            services.index.database.close()
        if tracer is not None:
            await asyncio.to_thread(tracer.close)
