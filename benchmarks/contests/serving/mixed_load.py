"""Completions and a tune on one machine: what each costs the other, with the default settings of the service."""

from __future__ import annotations

import contextlib
import itertools
import math
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from promptatlas import Client

from benchmarks.measuring.contest import Agreement, Contest, Metrics, Side, quotient
from benchmarks.sides.processes import free_port, running
from service.queueing.embedded_redis import find_server
from service.settings import default_model_path

SERVING, TUNING, BOTH = "completions alone", "tune alone", "completions during a tune"
_MODEL = "demo"
_TIMEOUT_S = 600.0
_TEXTS = (
    "Tom has a red ball.",
    "Once upon a time",
    "The cat sat",
    "Question: where is",
    "In the morning, Ann",
    "7 + 5 =",
)


@dataclass(frozen=True, kw_only=True)
class Size:
    """Clients that send one request after the other, ``n_each`` requests each when alone; steps of the tune."""

    n_clients: int = 3
    n_each: int = 40
    n_new: int = 48
    n_steps: int = 120
    n_evaluated: int = 60


FULL = Size()
QUICK = Size(n_each=5, n_new=16, n_steps=10, n_evaluated=10)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one side did. answers: text → completion. score: loss of the tuned prompt on the test split."""

    latencies_s: Sequence[float] = ()
    answers: Mapping[str, str] = field(default_factory=dict)
    tune_s: float = math.nan
    score: float = math.nan

    def metrics(self) -> Metrics:
        """Latencies of completions and the duration of the tune, as far as the side has them."""
        found: dict[str, float] = {}
        if self.latencies_s:
            ordered = sorted(self.latencies_s)
            found = {"p50_s": statistics.median(ordered), "p95_s": ordered[math.ceil(0.95 * len(ordered)) - 1]}
        return found if math.isnan(self.tune_s) else {**found, "tune_s": self.tune_s}


@contextlib.contextmanager
def open_contest(size: Size, *, http: bool) -> Iterator[Contest]:
    """The demo model in a service with one worker.

    Raises:
        ValueError: without ``http``, or there is no redis-server here, through which runs are queued.
    """
    if not http:
        raise ValueError("expected http=True, because the whole service is measured; got False.")
    if find_server() is None:
        raise ValueError("expected a redis-server, through which runs are queued; found none.")
    with _serving() as url:
        yield Contest(
            name="mixed-load",
            work=_describe(size),
            sides=[
                Side(name=SERVING, run=lambda: _complete(url, size), metrics=Outcome.metrics),
                Side(name=TUNING, run=lambda: _tune(url, size), metrics=Outcome.metrics),
                Side(name=BOTH, run=lambda: _both(url, size), metrics=Outcome.metrics),
            ],
            goals=[
                quotient("p95_s", BOTH, SERVING, at_most=3, label="p95 latency of completions, during a tune : alone"),
                quotient("p50_s", BOTH, SERVING, label="p50 latency of completions, during a tune : alone"),
                quotient("tune_s", BOTH, TUNING, at_most=2.5, label="duration of the tune, during completions : alone"),
            ],
            compare=_compare,
            notes=[
                "The duration of the tune is from its request to its end: it includes the start of its process.",
                "The clients run on the same cores.",
            ],
        )


@contextlib.contextmanager
def _serving() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="benchmark-") as name:
        folder, port = Path(name), free_port()
        environ = {
            "PROMPTATLAS_HOST": "127.0.0.1",
            "PROMPTATLAS_PORT": str(port),
            "PROMPTATLAS_HOME": str(folder / "home"),
            "PROMPTATLAS_MODELS": f"{_MODEL}={default_model_path(cwd=Path.cwd())}",
            "PROMPTATLAS_WORKERS": "1",
            "PROMPTATLAS_REDIS_URL": "",
            "PROMPTATLAS_DEVICE": "cpu",
            "PROMPTATLAS_API_KEYS": "",
        }
        url = f"http://127.0.0.1:{port}"
        with running("service", [], environ=environ, ready_url=f"{url}/ready", log=folder / "service.log"):
            yield url


def _complete(url: str, size: Size) -> Outcome:
    """Each client sends its requests, one after the other."""
    return _complete_while(url, size, more=lambda n_sent: n_sent < size.n_each)


def _complete_while(url: str, size: Size, *, more: Callable[[int], bool]) -> Outcome:
    """Each client sends a request as long as ``more`` holds for the number that it has sent."""
    latencies_s: list[float] = []
    answers: dict[str, str] = {}

    def work(number: int) -> None:
        with Client(url, timeout_s=_TIMEOUT_S) as client:
            for n_sent, text in enumerate(itertools.islice(itertools.cycle(_TEXTS), number, None)):
                if not more(n_sent):
                    return
                began = time.perf_counter()
                completion = client.completions.create(
                    model=_MODEL, prompt=text, max_tokens=size.n_new, temperature=0, ignore_eos=True
                )
                latencies_s.append(time.perf_counter() - began)
                answers[text] = completion.choices[0].text

    with ThreadPoolExecutor(size.n_clients) as pool:
        list(pool.map(work, range(size.n_clients)))
    return Outcome(latencies_s=latencies_s, answers=answers)


def _tune(url: str, size: Size) -> Outcome:
    """One run that tunes a soft prompt."""
    spec: dict[str, Any] = {
        "priors": [{"kind": "vocabulary"}],
        "method": {"kind": "soft", "n_virtual": 10},
        "optimizer": {"lr": 1e-2, "steps": size.n_steps, "batch_size": 16},
        "eval": {"every": size.n_steps, "metrics": ["loss"], "n": size.n_evaluated},
    }
    with Client(url, timeout_s=_TIMEOUT_S, progress=False) as client:
        began = time.perf_counter()
        run = client.runs.tune(model=_MODEL, dataset="demo-qa", **spec).wait()
        tune_s = time.perf_counter() - began
        if run.status != "succeeded":
            raise RuntimeError(f"expected the tune to succeed, it ended as {run.status}: {run.error}")
        return Outcome(tune_s=tune_s, score=run.info.metrics["test/loss"])


def _both(url: str, size: Size) -> Outcome:
    """The clients send requests until the tune has ended."""
    ended = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        served = pool.submit(_complete_while, url, size, more=lambda _: not ended.is_set())
        try:
            tuned = _tune(url, size)
        finally:
            ended.set()
        completed = served.result()
    return Outcome(latencies_s=completed.latencies_s, answers=completed.answers, tune_s=tuned.tune_s, score=tuned.score)


def _compare(outcomes: Mapping[str, Outcome]) -> list[Agreement]:
    alone, during = outcomes[SERVING].answers, outcomes[BOTH].answers
    shared = alone.keys() & during.keys()
    n_equal = sum(alone[text] == during[text] for text in shared)
    losses = outcomes[TUNING].score, outcomes[BOTH].score
    return [
        Agreement(
            label="texts of the completions",
            holds=0 < len(shared) == n_equal,
            detail=f"{n_equal} of {len(shared)} equal",
        ),
        # The number of threads changes the order of sums, and training amplifies the differences.
        Agreement(
            label="losses of the tuned prompts",
            holds=math.isclose(*losses, rel_tol=0.05),
            detail=f"{losses[0]:.4f} and {losses[1]:.4f}",
        ),
    ]


def _describe(size: Size) -> str:
    return (
        f"{size.n_clients} clients that send greedy completions of {size.n_new} tokens one after the other to the demo model "
        f"({size.n_each} each when alone, else until the tune ends), and a tune of a soft prompt of 10 vectors with "
        f"{size.n_steps} steps of 16 examples, in a service with one worker and default settings."
    )
