"""Metrics of the engine, from the state that it sends: vLLM's names with our prefix, and our own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from service.engine.statistics import HISTOGRAMS, EngineStatistics
from service.hosting.ipc.engine_pool import EnginePool

_STATS: Mapping[str, str] = {
    "n_running": "Sequences in the batch.",
    "n_waiting": "Sequences in the queue.",
    "n_steps": "Forwards.",
    "n_tokens": "Tokens of all forwards: read and generated.",
    "max_rows": "Maximum number of sequences in the batch.",
    "cache_bytes": "Allocated bytes of the cache of keys and values.",
    "cache_reserved_bytes": "Bytes of that cache that the running sequences occupy.",
    "cache_limit_bytes": "Maximum bytes of that cache.",
    "prompt_cache_hits": "Prompts that were compiled already.",
    "prompt_cache_misses": "Prompts that were loaded and compiled.",
    "prompt_cache_bytes": "Bytes of compiled prompts.",
    "prompt_cache_limit_bytes": "Maximum bytes of compiled prompts.",
    "prompt_fetches": "Prompts that were read from the store.",
}
_COUNTERS = frozenset({"n_steps", "n_tokens", "prompt_cache_hits", "prompt_cache_misses", "prompt_fetches"})

_HISTOGRAM_HELP: Mapping[str, str] = {
    "time_to_first_token_seconds": "Seconds from a request's arrival in the engine to its first token.",
    "inter_token_latency_seconds": "Seconds between two tokens of a sequence.",
    "request_time_per_output_token_seconds": "Mean seconds per token after the first one, of each sequence.",
    "e2e_request_latency_seconds": "Seconds from arrival to the end of a sequence.",
    "request_queue_time_seconds": "Seconds in the queue.",
    "request_inference_time_seconds": "Seconds from admission to the last token.",
    "request_prefill_time_seconds": "Seconds from admission to the first token, or to the end of the input.",
    "request_decode_time_seconds": "Seconds from the first to the last token.",
    "request_prompt_tokens": "Input tokens of a sequence.",
    "request_generation_tokens": "Generated tokens of a sequence.",
    "request_max_num_generation_tokens": "Most tokens that one sequence of a request generated.",
    "request_params_max_tokens": "max_tokens of a request.",
    "request_params_n": "n of a request.",
    "iteration_tokens_total": "Tokens of a forward.",
}

_LABELS = ("model_name", "engine")
"""vLLM's labels."""

_Stats = Mapping[str, Mapping[str, float]]
_ByEngine = Mapping[str, _Stats]
_StatisticsByEngine = Mapping[str, Mapping[str, EngineStatistics]]


class EngineCollector(Collector):
    """Reads the last state of each engine at each scrape."""

    def __init__(self, engine: EnginePool) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        """Metrics of the connections, then by model and engine."""
        engines = {str(number): client for number, client in enumerate(self._engine.engines)}
        up = GaugeMetricFamily("promptatlas_engine_up", "1 while the engine accepts requests.", labels=["engine"])
        pending = GaugeMetricFamily(
            "promptatlas_pending_requests", "Requests that wait for the engine.", labels=["engine"]
        )
        generation = GaugeMetricFamily(
            "promptatlas_engine_generation", "Number of engine processes started.", labels=["engine"]
        )
        states = {}
        for number, client in engines.items():
            up.add_metric([number], float(client.status == "ok"))
            pending.add_metric([number], client.n_pending)
            if client.state is not None:
                states[number] = client.state
                generation.add_metric([number], client.state.generation)
        yield from (up, pending)
        if not states:
            return
        yield generation
        stats = {number: state.stats for number, state in states.items()}
        statistics = {number: state.statistics for number, state in states.items()}
        yield from _own_metrics(stats)
        yield from _vllm_gauges(stats)
        yield from _vllm_counters(statistics)
        yield from _vllm_histograms(statistics)


def _own_metrics(stats: _ByEngine) -> Iterator[Metric]:
    for stat in sorted({name for models in stats.values() for found in models.values() for name in found}):
        family = CounterMetricFamily if stat in _COUNTERS else GaugeMetricFamily
        help_text = _STATS.get(stat, f"The engine's {stat}.")
        metric = family(f"promptatlas_engine_{stat}", help_text, labels=["model", "engine"])
        for engine, model, found in _rows(stats):
            if stat in found:
                metric.add_metric([model, engine], found[stat])
        yield metric


def _vllm_gauges(stats: _ByEngine) -> Iterator[Metric]:
    running = GaugeMetricFamily("promptatlas_num_requests_running", "Sequences in the batch.", labels=_LABELS)
    waiting = GaugeMetricFamily("promptatlas_num_requests_waiting", "Sequences in the queue.", labels=_LABELS)
    usage = GaugeMetricFamily(
        "promptatlas_kv_cache_usage_perc",
        "Share of the maximum size of the cache of keys and values that the running sequences occupy, from 0 to 1.",
        labels=_LABELS,
    )
    for engine, model, found in _rows(stats):
        running.add_metric([model, engine], found.get("n_running", 0.0))
        waiting.add_metric([model, engine], found.get("n_waiting", 0.0))
        usage.add_metric(
            [model, engine], found.get("cache_reserved_bytes", 0.0) / max(found.get("cache_limit_bytes", 1.0), 1.0)
        )
    yield from (running, waiting, usage)


def _vllm_counters(statistics: _StatisticsByEngine) -> Iterator[Metric]:
    read = CounterMetricFamily("promptatlas_prompt_tokens", "Input tokens read.", labels=_LABELS)
    generated = CounterMetricFamily("promptatlas_generation_tokens", "Tokens generated.", labels=_LABELS)
    finished = CounterMetricFamily(
        "promptatlas_request_success", "Sequences that ended, by reason.", labels=[*_LABELS, "finished_reason"]
    )
    for engine, model, found in _rows(statistics):
        read.add_metric([model, engine], found.prompt_tokens)
        generated.add_metric([model, engine], found.generation_tokens)
        for reason, count in sorted(found.finished.items()):
            finished.add_metric([model, engine, reason], count)
    yield from (read, generated, finished)


def _vllm_histograms(statistics: _StatisticsByEngine) -> Iterator[Metric]:
    families = {
        name: HistogramMetricFamily(f"promptatlas_{name}", _HISTOGRAM_HELP[name], labels=_LABELS) for name in HISTOGRAMS
    }
    for engine, model, found in _rows(statistics):
        for name, counts, total in found.histograms():
            bounds = [*map(floatToGoString, HISTOGRAMS[name]), "+Inf"]
            families[name].add_metric([model, engine], list(zip(bounds, accumulate(counts), strict=True)), total)
    yield from families.values()


_Found = TypeVar("_Found")


def _rows(found: Mapping[str, Mapping[str, _Found]]) -> Iterator[tuple[str, str, _Found]]:
    """Engine, model and value, for each model of each engine."""
    for engine, models in found.items():
        for model, value in models.items():
            yield engine, model, value
