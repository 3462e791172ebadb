"""Mean state after one block of many texts: a harvest on one and two workers, against a loop with transformers."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from redis.exceptions import RedisError

from benchmarks.measuring.agreement import states_agree
from benchmarks.measuring.contest import Contest, Side, speedup
from benchmarks.sides.harvesting import Field, Task, WorkerProcess, harvested, looped, run_ids, upload_texts
from benchmarks.sides.models import LlamaSize
from benchmarks.sides.workload import random_texts
from service.queueing.connections import connect
from service.queueing.embedded_redis import find_server

ONE, TWO, LOOP = "one worker", "two workers", "transformers"


@dataclass(frozen=True, kw_only=True)
class Size:
    """Texts of equal length. batches: candidate batch sizes of the loop."""

    model: LlamaSize
    n_texts: int = 2000
    n_tokens: int = 128
    batches: tuple[int, ...] = (4, 8, 16, 32)


FULL = Size(model=LlamaSize(d_model=256, n_layers=6, n_heads=4, n_kv_heads=2, d_mlp=704, n_vocab=1_024))
QUICK = Size(model=LlamaSize(d_model=128, n_layers=6, n_heads=4, n_kv_heads=2, d_mlp=352, n_vocab=512), n_texts=600)


@contextlib.contextmanager
def open_contest(size: Size, *, http: bool) -> Iterator[Contest]:
    """All sides, each in warm single-thread processes.

    Raises:
        ValueError: there is no redis-server here, by which workers agree.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        layer = size.model.n_layers // 2
        redis_url = stack.enter_context(_redis(folder))
        field = Field(size=size.model, home=str(folder / "home"), redis_url=redis_url, layer=layer)
        texts = random_texts(
            size.n_texts, shortest=size.n_tokens, longest=size.n_tokens, n_vocab=size.model.n_vocab, seed=11
        )
        upload_texts(field, texts, folder=folder)
        first, second, plain = (stack.enter_context(WorkerProcess(field)) for _ in range(3))
        new_id = run_ids()

        def harvest(*helpers: WorkerProcess) -> str:
            run_id = new_id()
            first.begin(Task(what="harvest", run_id=run_id))
            for helper in helpers:
                helper.begin(Task(what="help", run_id=run_id))
            first.finish()
            for helper in helpers:
                helper.finish()
            return run_id

        def loop(n_batch: int) -> str:
            run_id = new_id()
            plain.begin(Task(what="loop", run_id=run_id, n_batch=n_batch))
            plain.finish()
            return run_id

        n_batch = _best_batch(size, loop=loop)
        yield Contest(
            name="harvest",
            work=_describe(size, layer),
            sides=[
                Side(name=ONE, run=lambda: harvest()),
                Side(name=TWO, run=lambda: harvest(second)),
                Side(name=LOOP, run=lambda: loop(n_batch)),
            ],
            goals=[speedup(ONE, LOOP, at_least=1.5), speedup(TWO, ONE, at_least=1.7), speedup(TWO, LOOP)],
            compare=lambda ran: [
                states_agree(f"{ONE} against {LOOP}", harvested(field, ran[ONE]), looped(field, ran[LOOP])),
                states_agree(
                    f"{TWO} against {ONE}", harvested(field, ran[TWO]), harvested(field, ran[ONE]), tolerance=0.0
                ),
            ],
            notes=[
                f"Texts a batch of the loop, the fastest of {size.batches}: {n_batch}.",
                "Processes are warm: models are loaded, and the second worker waits for the first one's plan.",
            ],
        )


def _best_batch(size: Size, *, loop: Callable[[int], object]) -> int:
    if len(size.batches) == 1:
        return size.batches[0]
    loop(size.batches[0])  # warm
    seconds = {}
    for n_batch in size.batches:
        began = time.perf_counter()
        loop(n_batch)
        seconds[n_batch] = time.perf_counter() - began
    return min(seconds, key=lambda n_batch: seconds[n_batch])


@contextlib.contextmanager
def _redis(folder: Path) -> Iterator[str]:
    """Run a Redis server on a socket; yields its address."""
    server = find_server()
    if server is None:
        raise ValueError("harvests are shared by way of Redis, and there is no redis-server here.")
    socket = folder / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(socket), "--dir", str(folder), "--save", ""]
    process = subprocess.Popen([server, *options], stdout=subprocess.DEVNULL)
    try:
        url = f"unix://{socket}"
        _await(url, process=process)
        yield url
    finally:
        process.kill()
        process.wait()


def _await(url: str, *, process: subprocess.Popen[bytes]) -> None:
    while True:
        with contextlib.suppress(RedisError):
            connect(url).ping()
            return
        if process.poll() is not None:
            raise RuntimeError(f"redis-server ended with status {process.returncode}.")
        time.sleep(0.02)


def _describe(size: Size, layer: int) -> str:
    return (
        f"Mean state behind block {layer} (counted from 0) of {size.n_texts:,} texts of {size.n_tokens} tokens, into files "
        f"with their texts; every process with one thread; {size.model}."
    )
