"""Prometheus metrics: requests of this process, statistics that the engine reports, and the queue."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from service.hosting.ipc.engine_client import EngineClient
from service.queueing.monitor import QueueMonitor

_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_COUNTERS = frozenset({"n_steps", "n_tokens", "prompt_cache_hits", "prompt_cache_misses", "prompt_fetches"})


class Metrics:
    """All metrics of one application, in a registry of its own: a process may have several applications."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, engine: EngineClient, *, queue_watch: QueueMonitor | None = None) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_EngineCollector(engine))
        if queue_watch is not None:
            self._registry.register(_QueueCollector(queue_watch))
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

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)


class _EngineCollector(Collector):
    def __init__(self, engine: EngineClient) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        engine = self._engine
        yield GaugeMetricFamily(
            "promptatlas_engine_up", "1 while the engine accepts requests.", float(engine.status == "ok")
        )
        yield GaugeMetricFamily("promptatlas_pending_requests", "Requests that wait for the engine.", engine.n_pending)
        state = engine.state
        if state is None:
            return
        yield GaugeMetricFamily(
            "promptatlas_engine_generation", "Number of engine processes started.", state.generation
        )
        for stat in sorted({name for stats in state.stats.values() for name in stats}):
            family = CounterMetricFamily if stat in _COUNTERS else GaugeMetricFamily
            metric = family(f"promptatlas_engine_{stat}", f"The engine's {stat}.", labels=["model"])
            for model, stats in state.stats.items():
                if stat in stats:
                    metric.add_metric([model], stats[stat])
            yield metric


class _QueueCollector(Collector):
    def __init__(self, watch: QueueMonitor) -> None:
        self._watch = watch

    def collect(self) -> Iterator[Metric]:
        numbers = self._watch.numbers
        yield GaugeMetricFamily("promptatlas_queue_up", "1 while Redis and the store report runs.", numbers is not None)
        if numbers is None:
            return
        yield GaugeMetricFamily("promptatlas_n_workers", "Workers on all hosts.", numbers.n_workers)
        if numbers.counts is not None:
            runs = GaugeMetricFamily("promptatlas_n_runs", "Queued and running runs.", labels=["status"])
            runs.add_metric(["queued"], numbers.counts.n_queued)
            runs.add_metric(["running"], numbers.counts.n_running)
            yield runs
