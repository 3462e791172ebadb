"""Composition root: assembles the parts of the API process and the processes of the service."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import importlib.util
import multiprocessing
import os
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import structlog
from fastapi import FastAPI
from redis.asyncio import Redis

from service.api.hub_loads import HubLoads
from service.api.middleware import BodyLimit, RequestScope
from service.api.openai import routes as openai
from service.api.origin_guard import CorsHeaders, OriginGuard
from service.api.origin_policy import OriginPolicy
from service.api.readiness import ComponentChecks
from service.api.requests.bodies import FORM_TYPE
from service.api.responses.errors import install_handlers
from service.api.responses.openapi import describe
from service.api.routes import (
    activations,
    datasets,
    embeddings,
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
from service.hosting.engine_process.lit_api import SETUP_FAILED, EngineLitAPI
from service.hosting.engine_process.litserve_internals import EngineServer
from service.hosting.ipc.engine_client import EngineClient
from service.hosting.ipc.engine_connection import run_engine_client
from service.hosting.ipc.transport import ApiEndpoint
from service.hosting.processes.api_server import serve
from service.hosting.processes.child_command import Command
from service.hosting.processes.runtime_directory import Runtime, memory_folder, open_runtime
from service.hosting.processes.supervisor import Member, Supervisor
from service.logs import configure_logs
from service.projection.placement import PlacementProcess
from service.queueing.embedded_redis import EmbeddedRedis, find_server, missing_server, plan_embedded
from service.queueing.monitor import QueueMonitor
from service.queueing.queue import RunQueue
from service.queueing.reconciler import Reconciler
from service.settings import Settings, SettingsError, default_datasets_path
from service.store.artifacts.store import ArtifactStore
from service.store.datasets.hub import load_rows
from service.store.datasets.store import DatasetStore
from service.store.disk_space import disk_space
from service.store.housekeeping import Housekeeper
from service.store.idempotency import IdempotencyStore
from service.store.locked_folders import sweep_scratch_folders
from service.store.maps.store import MapStore
from service.store.prompts.store import PromptStore
from service.store.runs.store import RunStore
from service.tracing.opening import open_tracer
from service.tracing.spans import Tracer

ENGINE_LOADER = "service.hosting.engine_process.engine_loader:load_served"

_log = structlog.get_logger(__name__)
_SLACK_S = 5.0

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
    ):
        app.include_router(module.router)
    app.include_router(system.open_router)
    app.include_router(page_router(default_page_path()))
    app.openapi = functools.partial(describe, app)  # type: ignore[method-assign]
    app.add_middleware(BodyLimit, limit_of=functools.partial(_body_limit, settings=services.settings))
    policy = OriginPolicy.of(services.settings)
    app.add_middleware(OriginGuard, policy=policy)
    app.add_middleware(RequestScope, metrics=services.metrics, tracer=tracer)
    app.add_middleware(CorsHeaders, policy=policy)
    return app


def create_services(settings: Settings, *, engine: EngineClient) -> Services:
    """The parts of the API process, on the store and the Redis of the settings."""
    engine.observer = note_job
    artifacts = ArtifactStore(settings.home)
    store = RunStore(artifacts)
    open_datasets = functools.partial(
        DatasetStore, artifacts, builtin=default_datasets_path(cwd=Path.cwd()), max_bytes=settings.max_dataset_bytes
    )
    map_store = MapStore(artifacts, runs=store)
    redis, queue, monitor = None, None, None
    if settings.redis_url is not None:
        redis = Redis.from_url(settings.redis_url, socket_connect_timeout=1, socket_timeout=1)
        queue = RunQueue.at(settings.redis_url)
        monitor = QueueMonitor(queue, Reconciler(queue, store, max_attempts=settings.run_attempts))
    return Services(
        settings=settings,
        engine=engine,
        prompts=PromptStore(artifacts),
        datasets=open_datasets(load_hub=None),
        hub=HubLoads(open_datasets(load_hub=load_rows)),
        runs=store,
        maps=map_store,
        placer=PlacementProcess(map_store, home=settings.home),
        queue=queue,
        queue_watch=monitor,
        idempotency=IdempotencyStore(artifacts),
        metrics=Metrics(engine, queue_watch=monitor, disk=functools.partial(disk_space, settings.home)),
        checks=ComponentChecks(check_store=artifacts.check, redis=redis),
    )


def run_service(settings: Settings, *, sock: socket.socket) -> int:
    """Serve on a bound socket until SIGTERM or SIGINT; returns the exit status. The body of the main process."""
    configure_logs(settings.log)
    sweep_scratch_folders()
    settings, embedded = _with_redis(settings)
    with open_runtime(memory_folder()) as runtime:
        host, port = sock.getsockname()[:2]
        _log.info("serving", url=f"http://{f'[{host}]' if ':' in host else host}:{port}", home=settings.home)
        members = [
            Member(
                name="api",
                launch=lambda _: _launch_api(settings, sock=sock, runtime=runtime),
                clean=lambda _: runtime.sweep_all(),
                fatal_exits=frozenset({1, 3}),
                stop_s=max(settings.grace_s, settings.drain_s) + _SLACK_S,
            ),
            Member(
                name="engine",
                launch=lambda generation: _launch_engine(settings, runtime=runtime, generation=generation),
                clean=runtime.sweep,
                fatal_exits=frozenset({SETUP_FAILED}),
            ),
            *_worker_members(settings),
            *_redis_members(embedded),
        ]
        status = Supervisor(members, on_stop=sock.close).run()
    if embedded is not None:
        embedded.remove_socket_folder()
    return status


def _with_redis(settings: Settings) -> tuple[Settings, EmbeddedRedis | None]:
    """The settings with a Redis URL, if there is a Redis, and the embedded Redis to start, if one is needed."""
    if settings.redis_url is not None:
        return settings, None
    server = find_server()
    if server is None:
        _log.warning("no Redis, runs are disabled", reason=missing_server())
        return settings, None
    try:
        embedded = plan_embedded(settings.home, server=server)
    except (SettingsError, OSError) as error:
        _log.warning("Redis cannot be started, runs are disabled", reason=str(error))
        return settings, None
    return settings.model_copy(update={"redis_url": embedded.url}), embedded


def _redis_members(embedded: EmbeddedRedis | None) -> list[Member]:
    if embedded is None:
        return []
    return [Member(name="redis", launch=lambda generation: Command(embedded.command(generation)))]


def _worker_members(settings: Settings) -> list[Member]:
    if settings.redis_url is None or settings.workers == 0:
        return []
    if importlib.util.find_spec("workers") is None:
        _log.warning("the workers package is not installed: runs wait for workers of other hosts")
        return []
    environ = {**os.environ, "PROMPTATLAS_REDIS_URL": settings.redis_url}
    return [
        Member(
            name="workers",
            launch=lambda _: Command([sys.executable, "-m", "workers"], environ=environ),
            stop_s=settings.worker_grace_s + 2 * _SLACK_S,
            stops_early=True,
        )
    ]


def _launch_engine(settings: Settings, *, runtime: Runtime, generation: int) -> BaseProcess:
    api = EngineLitAPI(settings, runtime=runtime, generation=generation, loader=ENGINE_LOADER)
    return EngineServer(api).start_worker()


def _launch_api(settings: Settings, *, sock: socket.socket, runtime: Runtime) -> BaseProcess:
    # Forked, so that it shares loaded modules; all connections are opened after the fork, in its event loop.
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_run_api, args=(settings, sock, runtime, os.getpid()), name="api")
    process.start()
    return process


def _run_api(settings: Settings, sock: socket.socket, runtime: Runtime, parent_pid: int) -> None:
    endpoint = ApiEndpoint(runtime.socket_path)
    engine = EngineClient(endpoint, max_pending=settings.max_pending)
    services = create_services(settings, engine=engine)
    app = create_app(
        services,
        background=lambda: _run_background(services, engine, endpoint),
        tracer=open_tracer(os.environ, process="api"),
    )
    serve(
        app,
        sock=sock,
        drain=engine.drain,
        drain_s=settings.drain_s,
        grace_s=settings.grace_s,
        parent_pid=parent_pid,
    )


async def _run_background(services: Services, engine: EngineClient, endpoint: ApiEndpoint) -> None:
    monitor = services.queue_watch
    housekeeper = Housekeeper(ArtifactStore(services.settings.home), idempotency=services.idempotency)
    await asyncio.gather(
        run_engine_client(engine, endpoint),
        housekeeper.run_beside(),
        *([] if monitor is None else [monitor.run_forever()]),
    )


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
        if tracer is not None:
            await asyncio.to_thread(tracer.close)


def _body_limit(path: str, content_type: str, *, settings: Settings) -> int:
    limits = {"/v1/prompts": settings.max_upload_bytes, "/v1/datasets": settings.max_dataset_bytes}
    if path in limits:
        return limits[path]
    if content_type == FORM_TYPE:
        return settings.max_body_bytes
    return min(settings.max_body_bytes, settings.max_json_body_bytes)
