"""Prometheus metrics: requests of this process, and what engine, queue, workers and store report. Nothing is measured here."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.api.telemetry.engine_metrics import EngineCollector
from service.api.telemetry.run_metrics import RunCollector
from service.hosting.ipc.engine_pool import EnginePool
from service.queueing.monitor import QueueMonitor
from service.store.disk_space import DiskSpace

_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """All metrics of one application, in a registry of its own: a process may have several applications.

    Args:
        queue_watch: None without Redis; there are no metrics of runs then.
        disk: reads the space of the disk that has the store; None if it is not on a disk.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(
        self,
        engine: EnginePool,
        *,
        queue_watch: QueueMonitor | None = None,
        disk: Callable[[], DiskSpace | None] = lambda: None,
    ) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(EngineCollector(engine))
        if queue_watch is not None:
            self._registry.register(RunCollector(queue_watch))
        self._store = _StoreCollector(disk)
        self._registry.register(self._store)
        self._requests = Counter(
            "promptatlas_requests",
            "Requests, by route and status.",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "promptatlas_request_seconds",
            "Seconds from the request's headers to the end of the response.",
            ["method", "route"],
            buckets=_BUCKETS_S,
            registry=self._registry,
        )

    def observe(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request. ``route``: the path template, which keeps the number of labels small."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

    def render(self, *, store_is_up: bool | None = None) -> bytes:
        """All metrics in Prometheus' text format. store_is_up: whether the store can be used now; None if unknown."""
        self._store.is_up = store_is_up
        return generate_latest(self._registry)


class _StoreCollector(Collector):
    def __init__(self, disk: Callable[[], DiskSpace | None]) -> None:
        self.is_up: bool | None = None
        self._disk = disk

    def collect(self) -> Iterator[Metric]:
        if self.is_up is not None:
            yield GaugeMetricFamily(
                "promptatlas_store_up",
                "1 while the store can be read and, on a local disk, written.",
                float(self.is_up),
            )
        space = self._disk()
        if space is not None:
            yield GaugeMetricFamily("promptatlas_store_size_bytes", "Size of the store's disk.", space.size_bytes)
            yield GaugeMetricFamily("promptatlas_store_free_bytes", "Free bytes of the store's disk.", space.free_bytes)
