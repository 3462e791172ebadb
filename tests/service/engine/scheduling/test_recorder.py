"""Statistics of a real engine on a clock that stands still within a step. The expected values come from its events."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import prometheus_client
import pytest

from service.engine.engine import Engine
from service.engine.model.hosted_model import HostedModel
from service.engine.requests import Capture, CaptureSpec, Delta, Failed, Generate, Limits, RowDone, Sampling
from service.engine.statistics import HISTOGRAMS, EngineStatistics, RequestTimes
from tests.service.engine.small_engine import TEXT, load

SPEC = CaptureSpec(sites=("resid_post",), layers=(0,))
TICK_S = 0.25  # exact in binary, so that sums are exact


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def engine_on(model: HostedModel, clock: Clock, **limits: Any) -> Engine:
    return Engine(model, limits=Limits(**limits), load_prompt=load, clock=clock)


@dataclass
class Observed:
    """What an observer of the events sees, in prometheus_client's own histograms."""

    values: dict[str, list[float]] = field(default_factory=dict)
    finished: Counter[str] = field(default_factory=Counter)
    n_prompt: int = 0
    n_generated: int = 0

    def observe(self, name: str, value: float) -> None:
        self.values.setdefault(name, []).append(value)

    def require(self, statistics: EngineStatistics, *, but: frozenset[str] = frozenset()) -> None:
        assert dict(statistics.finished) == dict(self.finished)
        assert (statistics.prompt_tokens, statistics.generation_tokens) == (self.n_prompt, self.n_generated)
        for name, counts, total in statistics.histograms():
            if name not in but:
                assert (name, list(counts), total) == (name, *self._counted(name))

    def _counted(self, name: str) -> tuple[list[int], float]:
        registry = prometheus_client.CollectorRegistry()
        histogram = prometheus_client.Histogram("h", "h", buckets=HISTOGRAMS[name], registry=registry)
        for value in self.values.get(name, ()):
            histogram.observe(value)
        (family,) = histogram.collect()
        cumulative = [int(one.value) for one in family.samples if one.name == "h_bucket"]
        return [b - a for a, b in zip([0, *cumulative], cumulative, strict=False)], sum(self.values.get(name, ()))


@dataclass
class Job:
    request: Generate | Capture
    at: int
    cancel_at: int | None = None
    arrived_s: float = 0.0
    tokens_s: dict[int, list[float]] = field(default_factory=dict)
    over: set[int] = field(default_factory=set)

    @property
    def rows(self) -> int:
        n = self.request.n if isinstance(self.request, Generate) else 1
        return len(self.request.inputs) * n

    def n_input(self, row: int) -> int:
        n = self.request.n if isinstance(self.request, Generate) else 1
        return len(cast(Sequence[int], self.request.inputs[row // n]))


def random_jobs(rng: random.Random) -> list[Job]:
    jobs = []
    for i in range(12):
        inputs = tuple(tuple(rng.choices(range(3, 90), k=rng.randint(1, 6))) for _ in range(rng.randint(1, 3)))
        at = rng.randrange(12)
        if rng.random() < 0.25:
            jobs.append(Job(Capture(request_id=f"r{i}", inputs=inputs, capture=SPEC), at=at))
            continue
        max_tokens = rng.randint(1, 7)
        request = Generate(
            request_id=f"r{i}",
            inputs=inputs,
            n=rng.randint(1, 3),
            max_tokens=max_tokens,
            stream=True,  # an observer sees each token
            # Half of the vocabulary ends a row.
            stop_token_ids=tuple(range(3, 50)) if rng.random() < 0.5 else (),
            sampling=Sampling(seed=rng.randrange(99)),
        )
        jobs.append(Job(request, at=at, cancel_at=at + rng.randint(0, 3) if rng.random() < 0.25 else None))
    return jobs


def play(engine: Engine, clock: Clock, jobs: list[Job], seen: Observed) -> None:
    by_id = {job.request.request_id: job for job in jobs}
    step = 0
    while step < 13 or engine.has_work:
        for job in jobs:
            if job.at == step:
                job.arrived_s = clock.now_s
                assert engine.submit(job.request) == tuple(len(cast(Sequence[int], one)) for one in job.request.inputs)
        clock.now_s += TICK_S
        for job in jobs:
            if job.cancel_at == step:
                seen.finished["abort"] += sum(row not in job.over for row in range(job.rows))
                job.over |= set(range(job.rows))
                engine.cancel(job.request.request_id)
        for event in engine.step():
            job = by_id[event.request_id]
            if isinstance(event, Delta) and event.token_ids:
                note_token(job, event.row, now_s=clock.now_s, seen=seen)
            elif isinstance(event, RowDone):
                note_end(job, event, now_s=clock.now_s, seen=seen)
            elif event.ends_request and isinstance(job.request, Capture):
                for row in range(job.rows):
                    note_capture(job, row, now_s=clock.now_s, seen=seen)
        step += 1


def note_token(job: Job, row: int, *, now_s: float, seen: Observed) -> None:
    tokens = job.tokens_s.setdefault(row, [])
    if tokens:
        seen.observe("inter_token_latency_seconds", now_s - tokens[-1])
    else:
        seen.observe("time_to_first_token_seconds", now_s - job.arrived_s)
        seen.n_prompt += job.n_input(row)
    tokens.append(now_s)
    seen.n_generated += 1


def note_end(job: Job, event: RowDone, *, now_s: float, seen: Observed) -> None:
    assert isinstance(job.request, Generate)
    tokens = job.tokens_s[event.row]
    assert (len(tokens), event.n_input) == (event.n_generated, job.n_input(event.row))
    job.over.add(event.row)
    seen.finished[event.finish_reason] += 1
    seen.observe("e2e_request_latency_seconds", now_s - job.arrived_s)
    # All inputs are short: a row is admitted in the step that gives its first token.
    seen.observe("request_queue_time_seconds", tokens[0] - job.arrived_s)
    seen.observe("request_prefill_time_seconds", 0.0)
    seen.observe("request_decode_time_seconds", tokens[-1] - tokens[0])
    seen.observe("request_inference_time_seconds", tokens[-1] - tokens[0])
    seen.observe("request_prompt_tokens", event.n_input)
    seen.observe("request_generation_tokens", len(tokens))
    if len(tokens) > 1:
        seen.observe("request_time_per_output_token_seconds", (tokens[-1] - tokens[0]) / (len(tokens) - 1))
    if len(job.over) == job.rows:
        seen.observe("request_params_n", job.request.n)
        seen.observe("request_params_max_tokens", job.request.max_tokens)
        seen.observe("request_max_num_generation_tokens", max(map(len, job.tokens_s.values())))


def note_capture(job: Job, row: int, *, now_s: float, seen: Observed) -> None:
    seen.finished["capture"] += 1
    seen.n_prompt += job.n_input(row)
    seen.observe("e2e_request_latency_seconds", now_s - job.arrived_s)
    seen.observe("request_queue_time_seconds", now_s - job.arrived_s)
    seen.observe("request_prefill_time_seconds", 0.0)
    seen.observe("request_inference_time_seconds", 0.0)
    seen.observe("request_prompt_tokens", job.n_input(row))


@pytest.mark.parametrize("seed", range(8))
def test_random_scenarios_give_the_counts_that_their_events_show(model: HostedModel, seed: int) -> None:
    clock, seen = Clock(), Observed()
    engine = engine_on(model, clock, max_rows=5)
    jobs = random_jobs(random.Random(seed))
    play(engine, clock, jobs, seen)
    # A token that was generated in the step before its row's cancellation is counted, as the observer does.
    seen.require(
        engine.statistics(), but=frozenset({"iteration_tokens_total", "request_time_per_output_token_seconds"})
    )
    statistics = {name: (counts, total) for name, counts, total in engine.statistics().histograms()}
    per_token = statistics["request_time_per_output_token_seconds"]
    expected = seen.values.get("request_time_per_output_token_seconds", [])
    assert sum(per_token[0]) == len(expected)
    assert per_token[1] == pytest.approx(sum(expected))
    assert statistics["iteration_tokens_total"][1] == engine.stats()["n_tokens"]
    assert engine.stats()["n_steps"] == sum(statistics["iteration_tokens_total"][0])


def only(statistics: EngineStatistics, name: str) -> tuple[int, float]:
    """Number and sum of the observations."""
    return next((sum(counts), total) for found, counts, total in statistics.histograms() if found == name)


def test_an_input_that_takes_several_steps_is_prefill_time(model: HostedModel) -> None:
    clock = Clock()
    engine = engine_on(model, clock, max_step_tokens=3)
    engine.submit(Generate(request_id="a", inputs=(TEXT,), max_tokens=2, sampling=Sampling(temperature=0)))
    clock.now_s += 1
    while engine.has_work:
        engine.step()
        clock.now_s += 1
    statistics = engine.statistics()
    # Seven tokens take steps at 1, 2 and 3 s; the third gives the first token, and a fourth the second.
    assert only(statistics, "request_queue_time_seconds") == (1, 1.0)
    assert only(statistics, "request_prefill_time_seconds") == (1, 2.0)
    assert only(statistics, "time_to_first_token_seconds") == (1, 3.0)
    assert only(statistics, "request_decode_time_seconds") == (1, 1.0)
    assert only(statistics, "inter_token_latency_seconds") == (1, 1.0)
    assert only(statistics, "e2e_request_latency_seconds") == (1, 4.0)
    assert only(statistics, "iteration_tokens_total") == (4, 3 + 3 + 1 + 1)


def test_trajectories_count_as_generations_and_their_last_read_is_no_token(model: HostedModel) -> None:
    clock = Clock()
    engine = engine_on(model, clock)
    greedy = Sampling(temperature=0)
    engine.submit(Generate(request_id="t", inputs=(TEXT,), n=2, max_tokens=3, capture=SPEC, sampling=greedy))
    while engine.has_work:
        engine.step()
        clock.now_s += 1
    statistics = engine.statistics()
    assert dict(statistics.finished) == {"length": 2}
    assert (statistics.prompt_tokens, statistics.generation_tokens) == (2 * len(TEXT), 6)
    assert only(statistics, "request_decode_time_seconds") == (2, 4.0)
    assert only(statistics, "e2e_request_latency_seconds") == (2, 6.0)  # with the step that reads the last token


def test_long_captures_and_scored_texts_run_in_the_batch(model: HostedModel) -> None:
    engine = engine_on(model, Clock(), max_step_tokens=3)
    engine.submit(Capture(request_id="c", inputs=(TEXT,), capture=SPEC))
    engine.submit(Generate(request_id="s", inputs=(TEXT,), max_tokens=0, echo=True, logprobs=0))
    while engine.has_work:
        engine.step()
    statistics = engine.statistics()
    assert dict(statistics.finished) == {"capture": 1, "length": 1}
    assert (statistics.prompt_tokens, statistics.generation_tokens) == (14, 0)
    assert only(statistics, "time_to_first_token_seconds") == (0, 0.0)
    assert only(statistics, "request_generation_tokens") == (1, 0.0)


def test_failures_count_each_row_as_an_error_without_times(model: HostedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_on(model, Clock())
    engine.submit(Generate(request_id="a", inputs=(TEXT, TEXT), n=2, max_tokens=4))
    engine.submit(Capture(request_id="c", inputs=(TEXT,), capture=SPEC))

    def fail(*_: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(engine._generation, "step", fail)
    monkeypatch.setattr(engine._captures, "run", fail)
    assert all(isinstance(event, Failed) for event in engine.step())
    statistics = engine.statistics()
    assert dict(statistics.finished) == {"error": 5}
    assert only(statistics, "e2e_request_latency_seconds") == (0, 0.0)


def test_requests_that_a_broken_loop_drops_are_errors(model: HostedModel) -> None:
    engine = engine_on(model, Clock())
    engine.submit(Generate(request_id="a", inputs=(TEXT,), n=3))
    engine.cancel("a", has_failed=True)
    assert dict(engine.statistics().finished) == {"error": 3}


def test_times_of_a_request_span_all_its_rows(model: HostedModel) -> None:
    clock = Clock()
    engine = engine_on(model, clock, max_rows=1)
    ended: list[RequestTimes] = []
    engine.watch(ended.append)
    greedy = Sampling(temperature=0)
    engine.submit(Generate(request_id="a", inputs=((5, 6), (7,)), max_tokens=2, sampling=greedy), arrived_s=90.0)
    engine.submit(Generate(request_id="b", inputs=((5,),), max_tokens=9))
    while not ended:
        engine.step()
        clock.now_s += 1
    engine.cancel("b")
    a, b = ended
    assert (a.request_id, a.arrived_s, a.admitted_s, a.first_token_s) == ("a", 90.0, 100.0, 100.0)
    assert (a.prefilled_s, a.ended_s) == (102.0, 103.0)
    assert (a.n_input, a.n_generated, a.reasons) == (3, 4, ("length", "length"))
    assert (b.admitted_s, b.prefilled_s, b.n_generated, b.reasons) == (None, None, 0, ("abort",))


def test_gauges_show_what_the_running_rows_reserve_of_the_limits(model: HostedModel) -> None:
    engine = engine_on(model, Clock(), max_rows=2, cache_bytes=1 << 20, prompt_cache_bytes=999)
    for i in range(3):
        engine.submit(Generate(request_id=str(i), inputs=(TEXT,), max_tokens=9))
    engine.step()
    stats = engine.stats()
    width = 64 * model.kv_shape.bytes_per_token  # 16 tokens, rounded up to 64
    assert (stats["n_running"], stats["n_waiting"], stats["max_rows"]) == (2, 1, 2)
    assert (stats["cache_reserved_bytes"], stats["cache_limit_bytes"]) == (2 * width, 1 << 20)
    assert stats["prompt_cache_limit_bytes"] == 999
    for i in range(3):
        engine.cancel(str(i))
    assert engine.stats()["cache_reserved_bytes"] == 0
