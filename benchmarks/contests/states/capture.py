"""Last-token states of a middle block: the engine, a forward with all hidden states, a stopping hook, and nnsight."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from benchmarks.measuring.agreement import states_agree
from benchmarks.measuring.contest import Contest, Goal, Side, speedup
from benchmarks.sides.captures import (
    Reader,
    hidden_states_reader,
    nnsight_is_installed,
    nnsight_reader,
    read_all,
    stopping_hook_reader,
)
from benchmarks.sides.engine import EngineSide
from benchmarks.sides.models import LlamaSize, build_llama
from benchmarks.sides.service import CaptureService
from benchmarks.sides.workload import random_texts
from service.engine.requests import CaptureSpec


@dataclass(frozen=True, kw_only=True)
class Size:
    """Texts of equal length, and the goals against the forward (``_forward``) and nnsight."""

    name: str
    model: LlamaSize
    n_texts: int = 256
    n_tokens: int = 128
    batches: tuple[int, ...] = (2, 4, 8, 16, 32)
    engine_forward: float = 1.0
    http_forward: float = 1.0
    engine_nnsight: float = 1.0


SMALL = Size(
    name="capture-small",
    model=LlamaSize(d_model=256, n_layers=6, n_heads=4, n_kv_heads=2, d_mlp=704, n_vocab=1_024),
    engine_forward=1.65,
    http_forward=1.5,
    engine_nnsight=1.1,
)
LARGE = Size(
    name="capture-large",
    model=LlamaSize(d_model=768, n_layers=12, n_heads=12, n_kv_heads=6, d_mlp=2112, n_vocab=32_000),
    engine_forward=2.4,
    http_forward=2.2,
    engine_nnsight=1.0,
)
SMALL_QUICK = Size(
    name="capture-small",
    model=LlamaSize(d_model=128, n_layers=6, n_heads=4, n_kv_heads=2, d_mlp=352, n_vocab=512),
    n_texts=64,
    engine_forward=1.65,
    http_forward=1.5,
    engine_nnsight=1.1,
)
LARGE_QUICK = Size(
    name="capture-large",
    model=LlamaSize(d_model=256, n_layers=12, n_heads=4, n_kv_heads=2, d_mlp=704, n_vocab=8_000),
    n_texts=32,
    engine_forward=2.4,
    http_forward=2.2,
    engine_nnsight=1.0,
)

FORWARD, SHORT_FORWARD, HOOK, NNSIGHT = "forward", "forward without head", "stopping hook", "nnsight"


@contextlib.contextmanager
def open_contest(size: Size, *, http: bool) -> Iterator[Contest]:
    """All sides, each baseline with its best batch size."""
    texts = random_texts(
        size.n_texts, shortest=size.n_tokens, longest=size.n_tokens, n_vocab=size.model.n_vocab, seed=7
    )
    spec = CaptureSpec(sites=("resid_post",), layers=(size.model.middle_layer,), positions="last")
    label = f"resid_post.{size.model.middle_layer}"
    engine = EngineSide(build_llama(size.model))
    readers = {name: (reader, best_batch(reader, texts, size=size)) for name, reader in _readers(size).items()}
    sides = [Side(name="engine", run=lambda: engine.capture(texts, spec=spec)[label])]
    sides += [_reading_side(name, reader, texts, n_batch=n) for name, (reader, n) in readers.items()]
    goals = _goals(size)
    with contextlib.ExitStack() as stack:
        if http:
            service = stack.enter_context(CaptureService.start(size.model))
            sides.append(Side(name="HTTP", run=lambda: service.capture(texts, spec=spec)[label]))
            goals.append(speedup("HTTP", FORWARD, at_least=size.http_forward))
        yield Contest(
            name=size.name,
            work=_describe(size),
            sides=sides,
            goals=goals,
            compare=lambda answers: [
                states_agree(f"{name} against {FORWARD}", answers[name], answers[FORWARD])
                for name in answers
                if name != FORWARD
            ],
            notes=[
                f"Texts a batch, the fastest of {size.batches}: "
                + ", ".join(f"{name} {n}" for name, (_, n) in readers.items())
                + "."
            ],
        )


def best_batch(reader: Reader, texts: Sequence[Sequence[int]], *, size: Size) -> int:
    """The fastest batch size of a reader on some of the texts, the better of two runs each."""
    part = texts[: 2 * max(size.batches)]

    def seconds(n_batch: int) -> float:
        began = time.perf_counter()
        read_all(reader, part, n_batch=n_batch)
        return time.perf_counter() - began

    return min(size.batches, key=lambda n_batch: min(seconds(n_batch), seconds(n_batch)))


def _readers(size: Size) -> dict[str, Reader]:
    module, layer = build_llama(size.model), size.model.middle_layer
    readers = {
        FORWARD: hidden_states_reader(module, layer=layer),
        SHORT_FORWARD: hidden_states_reader(module, layer=layer, whole_head=False),
        HOOK: stopping_hook_reader(module, layer=layer),
    }
    if nnsight_is_installed():
        readers[NNSIGHT] = nnsight_reader(build_llama(size.model), layer=layer)
    return readers


def _reading_side(name: str, reader: Reader, texts: Sequence[Sequence[int]], *, n_batch: int) -> Side:
    def run() -> Tensor:
        return read_all(reader, texts, n_batch=n_batch)

    return Side(name=name, run=run)


def _goals(size: Size) -> list[Goal]:
    goals = [
        speedup("engine", FORWARD, at_least=size.engine_forward),
        speedup("engine", SHORT_FORWARD),
        speedup("engine", HOOK),
        speedup(HOOK, FORWARD),
    ]
    if nnsight_is_installed():
        goals.append(speedup("engine", NNSIGHT, at_least=size.engine_nnsight))
    return goals


def _describe(size: Size) -> str:
    return (
        f"Last-token state of block {size.model.middle_layer} (counted from 0) of {size.n_texts} texts of {size.n_tokens} "
        f"tokens; {size.model}."
    )
