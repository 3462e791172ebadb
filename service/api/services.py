"""The services that routes use, created once by the composition root."""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Request

from service.api.hub_loads import HubLoads
from service.api.intake import Intake
from service.api.keys.caller_engine import CallerEngine
from service.api.keys.key_ring import KeyRing
from service.api.keys.limits import KeyLimits
from service.api.readiness import ComponentChecks
from service.api.telemetry.metrics import Metrics
from service.hosting.ipc.engine_pool import EnginePool
from service.projection.placement import PlacementProcess
from service.projection.space_neighbours import SpaceNeighbours
from service.queueing.monitor import QueueMonitor
from service.queueing.queue import RunQueue
from service.settings import Settings
from service.store.client_files import ClientFiles
from service.store.datasets.store import DatasetStore
from service.store.idempotency import IdempotencyStore
from service.store.index.index import StoreIndex
from service.store.maps.store import MapStore
from service.store.prompts.store import PromptStore
from service.store.runs.store import RunStore


def _one_thread() -> Executor:
    return ThreadPoolExecutor(1, thread_name_prefix="parse-bodies")


@dataclass(frozen=True, kw_only=True)
class Services:
    """Parts of the API process.

    keys: accepted API keys; limits: what they may use. engine: connections to the engine processes. checks: of the store and
    Redis. datasets: stored ones; hub: loads further ones. files: of clients, for batches. queue, queue_watch: None without
    Redis; no run can be started then. neighbours: of the points of maps. parsing: validates large bodies, one at a time,
    because each holds the interpreter lock. index: of the lists. intake: whether new requests are taken.
    """

    settings: Settings
    keys: KeyRing
    limits: KeyLimits
    engine: EnginePool
    prompts: PromptStore
    datasets: DatasetStore
    hub: HubLoads
    files: ClientFiles
    runs: RunStore
    maps: MapStore
    placer: PlacementProcess
    neighbours: SpaceNeighbours
    queue: RunQueue | None
    queue_watch: QueueMonitor | None
    idempotency: IdempotencyStore
    metrics: Metrics
    checks: ComponentChecks
    index: StoreIndex | None = None
    parsing: Executor = field(default_factory=_one_thread)
    intake: Intake = field(default_factory=Intake)

    def engine_of(self, request: Request) -> CallerEngine:
        """The engine within the limits of the key of an authenticated request."""
        state = request.state
        return CallerEngine(self.engine, limits=self.limits, key=state.key, headers=state.rate_headers)


# Dependencies are coroutines although they never wait: FastAPI runs plain functions in a thread each.
async def _services(request: Request) -> Services:
    return cast(Services, request.app.state.services)


ServicesDep = Annotated[Services, Depends(_services)]


def request_id_of(request: Request) -> str:
    """The request's id, from the client or generated; also in the ``X-Request-ID`` response header and in the log."""
    return cast(str, request.state.request_id)
