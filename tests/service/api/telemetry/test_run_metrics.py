"""Metrics of runs and workers, read with Prometheus' own parser."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from service.queueing.tallies import TALLIES, TallyBuffer
from tests.service.api.conftest import OpenWorld
from tests.service.queueing.conftest import redis_server
from tests.service.queueing.redis_server import RedisServer

__all__ = ["redis_server"]


def samples_of(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(text)
    return {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples}


def test_tallies_of_workers_are_metrics(open_world: OpenWorld, redis_server: RedisServer) -> None:
    redis_server.client.flushall()
    world = open_world(redis_url=redis_server.url, workers=0)
    queue, watch = world.services.queue, world.services.queue_watch
    assert queue is not None
    assert watch is not None
    buffer = TallyBuffer()
    buffer.count("tuning_tokens", 123)
    buffer.observe("run_queue_seconds", 40.0)
    queue.tallies.write(buffer)
    queue.tallies.end_attempt("r", 1, kind="harvest", outcome="succeeded", ended=("succeeded", 3.0))
    watch.check()
    found = samples_of(world.client.get("/metrics").text)
    nothing: frozenset[tuple[str, str]] = frozenset()
    assert found["promptatlas_tuning_tokens_total", nothing] == 123
    assert found["promptatlas_tuning_steps_total", nothing] == 0
    assert found["promptatlas_run_queue_age_seconds", nothing] == 0
    assert found["promptatlas_n_busy_workers", nothing] == 0
    assert found["promptatlas_run_queue_seconds_bucket", frozenset({("le", "30.0")})] == 0
    assert found["promptatlas_run_queue_seconds_bucket", frozenset({("le", "60.0")})] == 1
    assert found["promptatlas_run_queue_seconds_sum", nothing] == 40
    assert found["promptatlas_runs_ended_total", frozenset({("kind", "harvest"), ("status", "succeeded")})] == 1
    assert found["promptatlas_run_attempts_total", frozenset({("kind", "harvest"), ("outcome", "succeeded")})] == 1
    assert found["promptatlas_run_seconds_count", frozenset({("kind", "harvest")})] == 1


def test_each_scrape_reads_the_last_check_and_not_redis(open_world: OpenWorld, redis_server: RedisServer) -> None:
    redis_server.client.flushall()
    world = open_world(redis_url=redis_server.url, workers=0)
    assert world.services.queue_watch is not None
    world.services.queue_watch.check()
    before = redis_server.client.info("commandstats")
    world.client.get("/metrics")
    after = redis_server.client.info("commandstats")
    assert after.get("cmdstat_hgetall") == before.get("cmdstat_hgetall")


def test_all_families_have_help_and_the_right_type(open_world: OpenWorld, redis_server: RedisServer) -> None:
    world = open_world(redis_url=redis_server.url, workers=0)
    assert world.services.queue_watch is not None
    world.services.queue_watch.check()
    families = {one.name: one for one in text_string_to_metric_families(world.client.get("/metrics").text)}
    for name, tally in TALLIES.items():
        family = families[f"promptatlas_{name}"]
        assert (family.type, family.documentation) == ("counter" if tally.bounds is None else "histogram", tally.help)
