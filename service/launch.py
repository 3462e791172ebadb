"""Composition root of the main process: starts and supervises the processes of the service."""

from __future__ import annotations

import functools
import importlib.util
import multiprocessing
import os
import socket
import sys
from collections.abc import Mapping
from multiprocessing.process import BaseProcess

import structlog

from service.app import create_app, create_services, run_background
from service.hosting.engine_process.lit_api import SETUP_FAILED, EngineLitAPI
from service.hosting.engine_process.litserve_internals import EngineServer
from service.hosting.ipc.engine_client import EngineClient
from service.hosting.ipc.transport import ApiEndpoint
from service.hosting.processes.api_server import serve
from service.hosting.processes.child_command import Command
from service.hosting.processes.devices import cuda_devices, engine_devices
from service.hosting.processes.runtime_directory import Runtime, memory_folder, open_runtime
from service.hosting.processes.supervisor import Member, Supervisor
from service.hosting.processes.threads import (
    ENGINE_SPINS,
    ThreadPlan,
    available_cores,
    environment,
    thread_environ,
)
from service.queueing.embedded_redis import EmbeddedRedis, find_server, missing_server, plan_embedded
from service.settings import Settings, SettingsError
from service.store.locked_folders import sweep_scratch_folders
from service.tracing.opening import open_tracer

ENGINE_LOADER = "service.hosting.engine_process.engine_loader:load_served"

_log = structlog.get_logger(__name__)
_SLACK_S = 5.0


def run_service(settings: Settings, *, sock: socket.socket, environ: Mapping[str, str]) -> int:
    """Serve on a bound socket until SIGTERM or SIGINT; returns the exit status. The body of the main process.

    Args:
        environ: environment of the other processes.
    """
    sweep_scratch_folders()
    settings, embedded = _with_redis(settings)
    with open_runtime(memory_folder()) as runtime:
        host, port = sock.getsockname()[:2]
        threads = ThreadPlan.of(settings, n_cores=available_cores())
        devices = engine_devices(len(settings.engines), device=settings.device, n_cuda=len(cuda_devices(environ)))
        engine_environ = thread_environ(
            environ, n_threads=threads.engine, n_spins=ENGINE_SPINS, is_set=settings.threads is not None
        )
        _log.info(
            "serving",
            url=f"http://{f'[{host}]' if ':' in host else host}:{port}",
            home=settings.home,
            threads=engine_environ["OMP_NUM_THREADS"],
        )
        members = [
            Member(
                name="api",
                launch=lambda _: _launch_api(settings, sock=sock, runtime=runtime),
                clean=lambda _: runtime.sweep_all(),
                fatal_exits=frozenset({1, 3}),
                stop_s=max(settings.grace_s, settings.drain_s) + _SLACK_S,
            ),
            *(
                _engine_member(settings, number, runtime=runtime, device=device, environ=engine_environ)
                for number, device in enumerate(devices)
            ),
            *_worker_members(settings, environ=environ),
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


def _worker_members(settings: Settings, *, environ: Mapping[str, str]) -> list[Member]:
    if settings.redis_url is None or settings.workers == 0:
        return []
    if importlib.util.find_spec("workers") is None:
        _log.warning("the workers package is not installed: runs wait for workers of other hosts")
        return []
    return [
        Member(
            name="workers",
            # The settings of this process, although its files may have changed since; secrets stay out of the environment.
            launch=lambda _: Command(
                [sys.executable, "-m", "workers", "--settings-on-stdin"],
                environ=environ,
                stdin=settings.model_dump_json().encode(),
            ),
            stop_s=settings.worker_grace_s + 2 * _SLACK_S,
            stops_early=True,
        )
    ]


def _engine_member(
    settings: Settings, number: int, *, runtime: Runtime, device: int | None, environ: Mapping[str, str]
) -> Member:
    def launch(generation: int) -> BaseProcess:
        api = EngineLitAPI(
            settings,
            runtime=runtime,
            generation=generation,
            loader=ENGINE_LOADER,
            number=number,
            models=settings.engines[number],
        )
        with environment(environ):
            return EngineServer(api, cuda_index=device).start_worker()

    return Member(
        name="engine" if len(settings.engines) == 1 else f"engine {number}",
        launch=launch,
        clean=functools.partial(runtime.sweep, engine=number),
        fatal_exits=frozenset({SETUP_FAILED}),
    )


def _launch_api(settings: Settings, *, sock: socket.socket, runtime: Runtime) -> BaseProcess:
    # Forked, so that it shares loaded modules; all connections are opened after the fork, in its event loop.
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_run_api, args=(settings, sock, runtime, os.getpid()), name="api")
    process.start()
    return process


def _run_api(settings: Settings, sock: socket.socket, runtime: Runtime, parent_pid: int) -> None:
    endpoints = [ApiEndpoint(runtime.socket_path(number)) for number in range(len(settings.engines))]
    clients = [EngineClient(endpoint, max_pending=settings.max_pending) for endpoint in endpoints]
    services = create_services(settings, engines=clients)
    app = create_app(
        services,
        background=lambda: run_background(services, connections=list(zip(clients, endpoints, strict=True))),
        tracer=open_tracer(os.environ, process="api"),
    )
    serve(
        app,
        sock=sock,
        settings=settings,
        drain=services.engine.drain,
        refuse=services.intake.close,
        parent_pid=parent_pid,
    )
