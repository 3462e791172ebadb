"""Metrics of the engine under vLLM's names, read with Prometheus' own parser."""

from __future__ import annotations

from dataclasses import replace

from prometheus_client.parser import text_string_to_metric_families

from service.engine.scheduling.recorder import Recorder
from service.engine.statistics import HISTOGRAMS, EngineStatistics
from tests.service.api.conftest import STATE, OpenWorld

DEMO = frozenset({("model_name", "demo"), ("engine", "0")})

VLLM_NAMES = frozenset(
    {
        *("time_to_first_token_seconds", "inter_token_latency_seconds", "request_queue_time_seconds"),
        *("request_prefill_time_seconds", "request_decode_time_seconds", "request_inference_time_seconds"),
        *("e2e_request_latency_seconds", "request_time_per_output_token_seconds"),
        *("request_prompt_tokens", "request_generation_tokens", "request_max_num_generation_tokens"),
        *("request_params_n", "request_params_max_tokens", "iteration_tokens_total"),
        *("prompt_tokens", "generation_tokens", "request_success"),
        *("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc"),
    }
)
"""Families of vLLM's metrics (`vllm/v1/metrics/loggers.py`), without `vllm:`, that this engine has too."""


def test_vllms_names_and_label_are_there_for_each_model(open_world: OpenWorld) -> None:
    world = open_world()
    world.engine.on_message(replace(STATE, statistics=dict.fromkeys(STATE.models, EngineStatistics())))
    families = {one.name: one for one in text_string_to_metric_families(world.client.get("/metrics").text)}
    for name in VLLM_NAMES - {"request_success"}:
        models = {one.labels["model_name"] for one in families[f"promptatlas_{name}"].samples}
        assert models == {"demo", "other"}, name


def test_values_are_those_that_the_engine_sends(open_world: OpenWorld) -> None:
    recorder = Recorder(clock=lambda: 3.0)
    recorder.read(n_tokens=5, n_prompt_tokens=4)
    recorder.read(n_tokens=20_000, n_prompt_tokens=0)
    statistics = replace(recorder.snapshot(), generation_tokens=7, finished={"stop": 2, "abort": 1})
    stats = {"n_running": 3.0, "n_waiting": 4.0, "cache_reserved_bytes": 25.0, "cache_limit_bytes": 100.0}
    world = open_world()
    world.engine.on_message(replace(STATE, stats={"demo": stats}, statistics={"demo": statistics}))
    families = text_string_to_metric_families(world.client.get("/metrics").text)
    found = {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}
    assert found["promptatlas_prompt_tokens_total", DEMO] == 4
    assert found["promptatlas_generation_tokens_total", DEMO] == 7
    assert found["promptatlas_request_success_total", DEMO | {("finished_reason", "stop")}] == 2
    assert found["promptatlas_request_success_total", DEMO | {("finished_reason", "abort")}] == 1
    assert found["promptatlas_num_requests_running", DEMO] == 3
    assert found["promptatlas_num_requests_waiting", DEMO] == 4
    assert found["promptatlas_kv_cache_usage_perc", DEMO] == 0.25
    buckets = {
        dict(labels)["le"]: value
        for (name, labels), value in found.items()
        if name == "promptatlas_iteration_tokens_total_bucket"
    }
    assert [buckets[le] for le in ("1.0", "8.0", "16384.0", "+Inf")] == [0, 1, 1, 2]
    assert found["promptatlas_iteration_tokens_total_sum", DEMO] == 20_005
    assert found["promptatlas_iteration_tokens_total_count", DEMO] == 2
    assert len(buckets) == len(HISTOGRAMS["iteration_tokens_total"]) + 1


def test_the_store_and_its_disk_are_shown(open_world: OpenWorld) -> None:
    text = open_world().client.get("/metrics").text
    found = {one.name: one.samples[0].value for one in text_string_to_metric_families(text) if one.samples}
    assert found["promptatlas_store_up"] == 1
    assert 0 < found["promptatlas_store_free_bytes"] <= found["promptatlas_store_size_bytes"]


def test_a_store_in_memory_has_no_disk(open_world: OpenWorld) -> None:
    from service.store.disk_space import disk_space

    assert disk_space("memory://store") is None
    assert disk_space("/nowhere/at/all") is None
