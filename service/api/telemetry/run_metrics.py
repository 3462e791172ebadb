"""Metrics of runs and workers, from the last check of the queue. The numbers are those of all hosts of the store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from service.queueing.monitor import QueueMonitor, QueueNumbers
from service.queueing.tallies import TALLIES, Series, Tally


class RunCollector(Collector):
    """Returns the last numbers of the monitor at each scrape; reads neither Redis nor the store."""

    def __init__(self, watch: QueueMonitor) -> None:
        self._watch = watch

    def collect(self) -> Iterator[Metric]:
        """Gauges of the queue and the workers, then the workers' tallies."""
        numbers = self._watch.numbers
        yield GaugeMetricFamily("promptatlas_queue_up", "1 while Redis and the store report runs.", numbers is not None)
        if numbers is not None:
            yield from _gauges(numbers)
            for name, tally in TALLIES.items():
                yield _family(name, tally, numbers.tallies.get(name, []))


def _gauges(numbers: QueueNumbers) -> Iterator[Metric]:
    yield GaugeMetricFamily("promptatlas_n_workers", "Workers on all hosts.", numbers.n_workers)
    yield GaugeMetricFamily(
        "promptatlas_n_busy_workers", "Workers that execute a run or help with one.", numbers.n_busy
    )
    yield GaugeMetricFamily(
        "promptatlas_run_queue_age_seconds", "Seconds that the next run has waited for a worker.", numbers.queue_age_s
    )
    if numbers.counts is not None:
        runs = GaugeMetricFamily("promptatlas_n_runs", "Queued and running runs.", labels=["status"])
        runs.add_metric(["queued"], numbers.counts.n_queued)
        runs.add_metric(["running"], numbers.counts.n_running)
        yield runs


def _family(name: str, tally: Tally, series: Sequence[Series]) -> Metric:
    full_name = f"promptatlas_{name}"
    if tally.bounds is None:
        counter = CounterMetricFamily(full_name, tally.help, labels=tally.labels)
        for one in series or _empty(tally):
            counter.add_metric(one.labels, one.value)
        return counter
    bounds = [*map(floatToGoString, tally.bounds), "+Inf"]
    histogram = HistogramMetricFamily(full_name, tally.help, labels=tally.labels)
    for one in series or _empty(tally):
        histogram.add_metric(one.labels, list(zip(bounds, one.counts, strict=True)), one.value)
    return histogram


def _empty(tally: Tally) -> list[Series]:
    """The series of a tally without labels before its first addition, so that its rate is known from the start."""
    if tally.labels:
        return []
    return [Series(labels=(), value=0.0, counts=() if tally.bounds is None else (0.0,) * (len(tally.bounds) + 1))]
