"""Metrics of the engine, from the state that it sends: vLLM's names with our prefix, and our own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from service.engine.statistics import HISTOGRAMS, EngineStatistics
from service.hosting.ipc.engine_client import EngineClient

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

_MODEL = ("model_name",)


class EngineCollector(Collector):
    """Reads the last state of the engine at each scrape."""

    def __init__(self, engine: EngineClient) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        """Metrics of the connection, then by model."""
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
        yield from _own_metrics(state.stats)
        yield from _vllm_gauges(state.stats)
        yield from _vllm_counters(state.statistics)
        yield from _vllm_histograms(state.statistics)


def _own_metrics(stats: Mapping[str, Mapping[str, float]]) -> Iterator[Metric]:
    for stat in sorted({name for found in stats.values() for name in found}):
        family = CounterMetricFamily if stat in _COUNTERS else GaugeMetricFamily
        help_text = _STATS.get(stat, f"The engine's {stat}.")
        metric = family(f"promptatlas_engine_{stat}", help_text, labels=["model"])
        for model, found in stats.items():
            if stat in found:
                metric.add_metric([model], found[stat])
        yield metric


def _vllm_gauges(stats: Mapping[str, Mapping[str, float]]) -> Iterator[Metric]:
    running = GaugeMetricFamily("promptatlas_num_requests_running", "Sequences in the batch.", labels=_MODEL)
    waiting = GaugeMetricFamily("promptatlas_num_requests_waiting", "Sequences in the queue.", labels=_MODEL)
    usage = GaugeMetricFamily(
        "promptatlas_kv_cache_usage_perc",
        "Share of the maximum size of the cache of keys and values that the running sequences occupy, from 0 to 1.",
        labels=_MODEL,
    )
    for model, found in stats.items():
        running.add_metric([model], found.get("n_running", 0.0))
        waiting.add_metric([model], found.get("n_waiting", 0.0))
        usage.add_metric(
            [model], found.get("cache_reserved_bytes", 0.0) / max(found.get("cache_limit_bytes", 1.0), 1.0)
        )
    yield from (running, waiting, usage)


def _vllm_counters(statistics: Mapping[str, EngineStatistics]) -> Iterator[Metric]:
    read = CounterMetricFamily("promptatlas_prompt_tokens", "Input tokens read.", labels=_MODEL)
    generated = CounterMetricFamily("promptatlas_generation_tokens", "Tokens generated.", labels=_MODEL)
    finished = CounterMetricFamily(
        "promptatlas_request_success", "Sequences that ended, by reason.", labels=[*_MODEL, "finished_reason"]
    )
    for model, found in statistics.items():
        read.add_metric([model], found.prompt_tokens)
        generated.add_metric([model], found.generation_tokens)
        for reason, count in sorted(found.finished.items()):
            finished.add_metric([model, reason], count)
    yield from (read, generated, finished)


def _vllm_histograms(statistics: Mapping[str, EngineStatistics]) -> Iterator[Metric]:
    families = {
        name: HistogramMetricFamily(f"promptatlas_{name}", _HISTOGRAM_HELP[name], labels=_MODEL) for name in HISTOGRAMS
    }
    for model, found in statistics.items():
        for name, counts, total in found.histograms():
            bounds = [*map(floatToGoString, HISTOGRAMS[name]), "+Inf"]
            families[name].add_metric([model], list(zip(bounds, accumulate(counts), strict=True)), total)
    yield from families.values()
