"""Continuous batching: requests admitted between steps, against requests collected into static batches."""

from __future__ import annotations

import contextlib
import math
import random
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmarks.contests.serving.completions import Size as PromptsSize
from benchmarks.contests.serving.completions import prompts_of
from benchmarks.measuring.agreement import tokens_agree
from benchmarks.measuring.contest import Contest, Side, quotient
from benchmarks.sides.batch import StaticBatch
from benchmarks.sides.engine import EngineSide
from benchmarks.sides.models import COMPLETING, COMPLETING_QUICK, build_llama
from benchmarks.sides.workload import CompletionTask, random_texts
from service.engine.requests import Delta, Done, Limits


@dataclass(frozen=True, kw_only=True)
class Size:
    """``n_requests`` texts as in the completions; answers of ``fewest_new`` to ``most_new`` tokens, uniform in the logarithm.

    n_batch: rows that either side decodes at once, at most.
    load: of the engine's throughput, how much arrives.
    """

    prompts: PromptsSize
    n_requests: int = 160
    fewest_new: int = 8
    most_new: int = 128
    n_batch: int = 32
    load: float = 0.9


FULL = Size(prompts=PromptsSize(model=COMPLETING))
QUICK = Size(prompts=PromptsSize(model=COMPLETING_QUICK, n_prompts=4), n_requests=48, most_new=32, n_batch=8)


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A request and its arrival time, in seconds after the first."""

    at_s: float
    task: CompletionTask


@dataclass(frozen=True, kw_only=True)
class Served:
    """Results of all arrivals: tokens and latency of each, in order, and the end of the last one."""

    tokens: Sequence[tuple[int, ...]]
    latencies_s: Sequence[float]
    total_s: float

    def metrics(self) -> Mapping[str, float]:
        """Tokens per second from the first arrival to the last completion, and latencies."""
        ordered = sorted(self.latencies_s)
        return {
            "tokens_per_s": sum(len(row) for row in self.tokens) / self.total_s,
            "p50_s": statistics.median(ordered),
            "p95_s": ordered[math.ceil(0.95 * len(ordered)) - 1],
        }


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Clock of the simulated servers."""

    now: Callable[[], float] = time.perf_counter
    sleep: Callable[[float], None] = time.sleep


def tasks_of(size: Size) -> list[CompletionTask]:
    """The requests in order of arrival."""
    prompts = size.prompts
    draw = random.Random(4)
    texts = random_texts(
        size.n_requests, shortest=prompts.shortest, longest=prompts.longest, n_vocab=prompts.model.n_vocab, seed=5
    )
    low, high = math.log(size.fewest_new), math.log(size.most_new)
    return [
        CompletionTask(ids=ids, n_new=round(math.exp(draw.uniform(low, high))), prompt=i % prompts.n_prompts)
        for i, ids in enumerate(texts)
    ]


def poisson(tasks: Sequence[CompletionTask], *, mean_gap_s: float, seed: int = 6) -> list[Arrival]:
    """Exponential gaps; for one seed they are proportional to their mean."""
    draw = random.Random(seed)
    arrivals, at = [], 0.0
    for task in tasks:
        arrivals.append(Arrival(at_s=at * mean_gap_s, task=task))
        at += draw.expovariate(1.0)
    return arrivals


def serve_continuously(engine: EngineSide, arrivals: Sequence[Arrival], *, clock: Clock) -> Served:
    """Submit arrived requests between steps of the engine."""
    coming = deque(enumerate(arrivals))
    index_of: dict[str, int] = {}
    tokens: list[tuple[int, ...]] = [()] * len(arrivals)
    latencies = [0.0] * len(arrivals)
    began = clock.now()
    while coming or index_of:
        now = clock.now() - began
        while coming and coming[0][1].at_s <= now:
            index, arrival = coming.popleft()
            index_of[engine.submit(arrival.task)] = index
        if not index_of:
            clock.sleep(coming[0][1].at_s - now)
            continue
        for event in engine.step():
            index = index_of[event.request_id]
            if isinstance(event, Delta):
                tokens[index] += event.token_ids
            elif isinstance(event, Done):
                del index_of[event.request_id]
                latencies[index] = clock.now() - began - arrivals[index].at_s
    return Served(tokens=tokens, latencies_s=latencies, total_s=clock.now() - began)


def serve_in_batches(static: StaticBatch, arrivals: Sequence[Arrival], *, n_batch: int, clock: Clock) -> Served:
    """When idle, take up to ``n_batch`` waiting requests and generate until the longest has ended."""
    tokens: list[tuple[int, ...]] = []
    latencies: list[float] = []
    began = clock.now()
    while len(tokens) < len(arrivals):
        now = clock.now() - began
        waiting = [a for a in arrivals[len(tokens) : len(tokens) + n_batch] if a.at_s <= now]
        if not waiting:
            clock.sleep(arrivals[len(tokens)].at_s - now)
            continue
        tokens += static.complete([arrival.task for arrival in waiting])
        ended = clock.now() - began
        latencies += [ended - arrival.at_s for arrival in waiting]
    return Served(tokens=tokens, latencies_s=latencies, total_s=clock.now() - began)


@contextlib.contextmanager
def open_contest(size: Size, *, http: bool, clock: Clock | None = None) -> Iterator[Contest]:
    """Both sides; the arrival rate is set by the throughput of the engine when all requests arrive at once."""
    clock = clock or Clock()
    prompts, tasks = prompts_of(size.prompts), tasks_of(size)
    limits = replace(Limits(), max_rows=size.n_batch)
    engine = EngineSide(build_llama(size.prompts.model), prompts=prompts, limits=limits)
    static = StaticBatch(build_llama(size.prompts.model), prompts=prompts)
    at_once = poisson(tasks, mean_gap_s=0.0)
    serve_continuously(engine, at_once, clock=clock)
    capacity = len(tasks) / serve_continuously(engine, at_once, clock=clock).total_s
    arrivals = poisson(tasks, mean_gap_s=1 / (size.load * capacity))
    yield Contest(
        name="arrivals",
        work=_describe(size),
        sides=[
            Side(name="engine", run=lambda: serve_continuously(engine, arrivals, clock=clock), metrics=Served.metrics),
            Side(
                name="fixed batches",
                metrics=Served.metrics,
                run=lambda: serve_in_batches(static, arrivals, n_batch=size.n_batch, clock=clock),
            ),
        ],
        goals=[
            quotient(
                "tokens_per_s", "engine", "fixed batches", at_least=1.8, label="throughput, engine : fixed batches"
            ),
            quotient("p50_s", "engine", "fixed batches", at_most=0.6, label="p50 latency, engine : fixed batches"),
        ],
        compare=lambda answers: [
            tokens_agree("engine against fixed batches", answers["engine"].tokens, answers["fixed batches"].tokens)
        ],
        notes=[
            f"Arrivals: {size.load * capacity:.2f} requests a second, {size.load:.0%} of what the engine completes."
        ],
    )


def _describe(size: Size) -> str:
    prompts = size.prompts
    return (
        f"{size.n_requests} requests by a Poisson process near the engine's capacity, {prompts.n_prompts} soft prompts, texts "
        f"of {prompts.shortest} to {prompts.longest} tokens, {size.fewest_new} to {size.most_new} new tokens (uniform in the "
        f"logarithm), at most {size.n_batch} rows at once on either side; {prompts.model}."
    )
