"""What routes work with, put together once by the composition root."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from service.api.metrics import Metrics
from service.api.readiness import Pings
from service.hosting.ipc.engine_client import EngineClient
from service.projection.placement import PlacementProcess
from service.queueing.monitor import QueueMonitor
from service.queueing.queue import RunQueue
from service.settings import Settings
from service.store.datasets.store import DatasetStore
from service.store.idempotency import IdempotencyStore
from service.store.maps.store import MapStore
from service.store.prompts.store import PromptStore
from service.store.runs.store import RunStore


@dataclass(frozen=True, kw_only=True)
class Services:
    """The parts of the API process.

    pings: whether the store and Redis answer. queue, queue_watch: None without a Redis, so that no run can be started.
    """

    settings: Settings
    hub: EngineClient
    prompts: PromptStore
    datasets: DatasetStore
    runs: RunStore
    maps: MapStore
    placer: PlacementProcess
    queue: RunQueue | None
    queue_watch: QueueMonitor | None
    idempotency: IdempotencyStore
    metrics: Metrics
    pings: Pings


# Dependencies are coroutines, though they wait for nothing: plain functions would each be sent to a thread.
async def _services(request: Request) -> Services:
    return cast(Services, request.app.state.services)


ServicesDep = Annotated[Services, Depends(_services)]


def request_id_of(request: Request) -> str:
    """The id that the client gave or the server made; it is in the answer's ``X-Request-ID`` and in the log."""
    return cast(str, request.state.request_id)
