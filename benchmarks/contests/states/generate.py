"""Samples for every item of a dataset: a ``generate`` run on one and two workers, against a client of the service."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx
import torch
from redis.exceptions import RedisError

from benchmarks.measuring.contest import Agreement, Contest, Side, speedup
from benchmarks.sides.harvesting import BareRun, run_ids
from benchmarks.sides.models import LlamaSize, build_llama, build_tokenizer
from benchmarks.sides.service import MODEL, serving
from benchmarks.sides.workload import random_texts
from service.engine.model.hosted_model import HostedModel
from service.hosting.processes.process_setup import keep_freed_memory
from service.queueing.connections import connect
from service.queueing.embedded_redis import find_server
from service.store.artifacts.store import ArtifactStore
from service.store.datasets.store import DatasetStore
from workers.generate.helper import help_generate
from workers.generate.plan import PlanFile
from workers.generate.run import generate
from workers.generate.samples.requests import seed_of

ONE, TWO, WHOLE, CLIENT = "one worker", "two workers", "one worker on all cores", "client of 16 threads"
DATASET = "items"
N_THREADS = 16
LEAST_EQUAL = 0.99
"""Share of samples that are equal; rounding decides some draws where batches or threads differ."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """Items of different lengths, ``n`` samples each."""

    model: LlamaSize
    n_items: int = 2000
    n: int = 4
    shortest: int = 8
    longest: int = 48
    n_new: int = 16


FULL = Size(model=LlamaSize(d_model=256, n_layers=6, n_heads=4, n_kv_heads=2, d_mlp=704, n_vocab=1_024))
QUICK = Size(model=LlamaSize(d_model=128, n_layers=6, n_heads=4, n_kv_heads=2, d_mlp=352, n_vocab=512), n_items=250)


@dataclass(frozen=True, kw_only=True)
class Field:
    """What worker processes know of the work."""

    size: Size
    home: str
    redis_url: str
    name: str = ""

    @property
    def spec(self) -> dict[str, Any]:
        """Of the run."""
        return {
            "model": MODEL,
            "dataset": DATASET,
            "n": self.size.n,
            "max_tokens": self.size.n_new,
            "metric": "exact_match",
            "reuse": False,
            "name": self.name,
        }

    def artifacts(self) -> ArtifactStore:
        """The store."""
        return ArtifactStore(self.home)


@contextlib.contextmanager
def open_contest(size: Size, *, http: bool) -> Iterator[Contest]:
    """All sides, each warm.

    Raises:
        ValueError: there is no redis-server here, by which workers agree.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        redis_url = stack.enter_context(_redis(folder))
        field = Field(size=size, home=str(folder / "home"), redis_url=redis_url)
        texts = _texts(size)
        _upload(field, texts, folder=folder)
        n_threads = torch.get_num_threads()
        first, second, whole = (stack.enter_context(_worker(field, n_threads=n)) for n in (1, 1, n_threads))
        new_id = run_ids()

        def generated(worker: Connection, *helpers: Connection) -> str:
            run_id = new_id()
            worker.send(("generate", run_id))
            for helper in helpers:
                helper.send(("help", run_id))
            for each in (worker, *helpers):
                each.recv()
            return run_id

        sides = [
            Side(name=ONE, run=lambda: generated(first)),
            Side(name=TWO, run=lambda: generated(first, second)),
            Side(name=WHOLE, run=lambda: generated(whole)),
        ]
        goals = [speedup(TWO, ONE, at_least=1.8), speedup(TWO, WHOLE)]
        if http:
            client = stack.enter_context(_client(size))
            sides.append(Side(name=CLIENT, run=lambda: client.complete(texts)))
            goals.append(speedup(TWO, CLIENT, at_least=1.3))
        yield Contest(
            name="generate",
            work=_describe(size),
            sides=sides,
            goals=goals,
            compare=lambda ran: _compare(field, ran),
            notes=[
                f"Runs have one thread in each of two workers, as by default on two cores, and {n_threads} in {WHOLE}, the "
                "default of a single worker.",
                "Processes are warm: models are loaded, and the second worker waits for the first one's plan.",
            ],
        )


def _compare(field: Field, ran: dict[str, Any] | Any) -> Sequence[Agreement]:
    texts = {name: _stored(field, ran[name]) for name in (ONE, TWO, WHOLE)}
    found = [
        _equal(f"{TWO} against {ONE}", texts[TWO], texts[ONE], least=1.0),
        _equal(f"{WHOLE} against {ONE}", texts[WHOLE], texts[ONE], least=LEAST_EQUAL),
    ]
    if CLIENT in ran:
        found.append(_equal(f"{ONE} against {CLIENT}", texts[ONE], ran[CLIENT], least=LEAST_EQUAL))
    return found


def _equal(label: str, first: Sequence[str], second: Sequence[str], *, least: float) -> Agreement:
    n_equal = sum(one == other for one, other in zip(first, second, strict=True))
    share = n_equal / len(first)
    return Agreement(label=label, holds=share >= least, detail=f"{n_equal} of {len(first)} samples are equal")


def _stored(field: Field, run_id: str) -> list[str]:
    """The texts of a run, in order."""
    examples = DatasetStore(field.artifacts()).examples(f"made-{run_id}")
    return [example.target or "" for example in examples]


def _texts(size: Size) -> list[str]:
    ids = random_texts(size.n_items, shortest=size.shortest, longest=size.longest, n_vocab=size.model.n_vocab, seed=12)
    return [" ".join(f"w{token}" for token in each) for each in ids]


def _upload(field: Field, texts: Sequence[str], *, folder: Path) -> None:
    file = folder / "items.jsonl"
    rows = ({"input": text, "target": "w1", "split": "train"} for text in texts)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with file.open("rb") as stream:
        DatasetStore(field.artifacts()).create(DATASET, format="jsonl", stream=stream)


class _Client:
    """A client with 16 threads, which sends a request for each sample."""

    def __init__(self, http: httpx.Client, pool: ThreadPoolExecutor, *, size: Size) -> None:
        self._http = http
        self._pool = pool
        self._size = size

    def complete(self, texts: Sequence[str]) -> list[str]:
        """The texts of all samples."""
        requests = [(i, sample, text) for i, text in enumerate(texts) for sample in range(self._size.n)]
        return list(self._pool.map(self._one, requests))

    def _one(self, request: tuple[int, int, str]) -> str:
        item, sample, text = request
        seed = seed_of(0, item=item, prompt=0, sample=sample)
        body = {"model": MODEL, "prompt": text, "max_tokens": self._size.n_new, "temperature": 1.0, "seed": seed}
        answer = self._http.post("/v1/completions", json=body)
        answer.raise_for_status()
        found: str = answer.json()["choices"][0]["text"]
        return found


@contextlib.contextmanager
def _client(size: Size) -> Iterator[_Client]:
    limits = httpx.Limits(max_connections=N_THREADS, max_keepalive_connections=N_THREADS)
    with (
        serving(size.model) as url,
        httpx.Client(base_url=url, timeout=600, limits=limits) as http,
        ThreadPoolExecutor(N_THREADS) as pool,
    ):
        yield _Client(http, pool, size=size)


@contextlib.contextmanager
def _worker(field: Field, *, n_threads: int) -> Iterator[Connection]:
    """A child process with a loaded model, which executes tasks one by one."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, field, n_threads), daemon=True)
    process.start()
    try:
        yield ours
    finally:
        process.terminate()
        process.join()


def _serve(connection: Connection, field: Field, n_threads: int) -> None:
    torch.set_num_threads(n_threads)
    keep_freed_memory()  # as a work horse does
    size = field.size.model
    model = HostedModel(MODEL, build_llama(size), build_tokenizer(size.n_vocab), revision="random")
    with suppress(EOFError):
        while True:
            task, run_id = connection.recv()
            own = Field(size=field.size, home=field.home, redis_url=field.redis_url, name=f"made-{run_id}")
            run = BareRun(own, model, run_id=run_id)  # type: ignore[arg-type]
            if task == "help":
                # In production a helper starts after the plan is made; here it waits for the plan.
                while PlanFile(run.artifacts, run_id=run_id).load() is None:
                    time.sleep(0.002)
                help_generate(run)
            else:
                generate(run)
            connection.send(run_id)


@contextlib.contextmanager
def _redis(folder: Path) -> Iterator[str]:
    """Run a Redis server on a socket; yields its address."""
    server = find_server()
    if server is None:
        raise ValueError("shards are shared by way of Redis, and there is no redis-server here.")
    socket = folder / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(socket), "--dir", str(folder), "--save", ""]
    process = subprocess.Popen([server, *options], stdout=subprocess.DEVNULL)
    try:
        url = f"unix://{socket}"
        while True:
            with suppress(RedisError):
                connect(url).ping()
                break
            if process.poll() is not None:
                raise RuntimeError(f"redis-server ended with status {process.returncode}.")
            time.sleep(0.02)
        yield url
    finally:
        process.kill()
        process.wait()


def _describe(size: Size) -> str:
    return (
        f"{size.n} seeded samples of {size.n_new} tokens for each of {size.n_items:,} items of {size.shortest} to "
        f"{size.longest} tokens, as a dataset; {size.model}."
    )
