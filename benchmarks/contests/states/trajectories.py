"""States of one block at every generated token: the engine against generate(output_hidden_states=True)."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.measuring.agreement import states_agree, tokens_agree
from benchmarks.measuring.contest import Agreement, Contest, Side, speedup
from benchmarks.sides.batch import generate_with_states
from benchmarks.sides.engine import EngineSide
from benchmarks.sides.models import COMPLETING, COMPLETING_QUICK, LlamaSize, build_llama
from benchmarks.sides.workload import random_texts
from service.engine.requests import CaptureSpec


@dataclass(frozen=True, kw_only=True)
class Size:
    """Texts of mixed lengths in one request, without a prompt."""

    model: LlamaSize
    n_texts: int = 16
    shortest: int = 8
    longest: int = 64
    n_new: int = 64


FULL = Size(model=COMPLETING)
QUICK = Size(model=COMPLETING_QUICK, n_texts=8, n_new=16)


@contextlib.contextmanager
def open_contest(size: Size, *, http: bool) -> Iterator[Contest]:
    """Both sides; ``http`` has no effect."""
    layer = size.model.middle_layer
    engine, bare = EngineSide(build_llama(size.model)), build_llama(size.model)
    texts = random_texts(size.n_texts, shortest=size.shortest, longest=size.longest, n_vocab=size.model.n_vocab, seed=8)
    spec = CaptureSpec(sites=("resid_post",), layers=(layer,))
    yield Contest(
        name="trajectories",
        work=_describe(size),
        sides=[
            Side(name="engine", run=lambda: engine.trajectories(texts, n_new=size.n_new, spec=spec)),
            Side(name="generate", run=lambda: generate_with_states(bare, texts, n_new=size.n_new, layer=layer)),
        ],
        goals=[speedup("engine", "generate", at_least=1.5)],
        compare=lambda answers: compare(answers["engine"], answers["generate"], label=f"resid_post.{layer}"),
        notes=["The engine also reads the last token of each row, which generate does not."],
    )


def compare(
    ours: Mapping[str, Tensor], theirs: tuple[Sequence[Sequence[int]], Sequence[Tensor]], *, label: str
) -> list[Agreement]:
    """Tokens of all rows, and states of all tokens that both sides read."""
    tokens, states = theirs
    rows = list(rows_of(ours, label))
    generated = [ids[flags].tolist() for ids, _, flags in rows]
    return [
        tokens_agree("engine against generate, tokens", generated, tokens),
        states_agree(
            "engine against generate, states", torch.cat([r[:-1] for _, r, _ in rows]), torch.cat(list(states))
        ),
    ]


def rows_of(answer: Mapping[str, Tensor], label: str) -> Iterator[tuple[Any, Tensor, Tensor]]:
    """Token ids, states and the generated flags of each row."""
    offsets = answer["row_offsets"].tolist()
    for begin, end in itertools.pairwise(offsets):
        part = slice(begin, end)
        yield answer["token_ids"][part], answer[label][part], answer["generated"][part]


def _describe(size: Size) -> str:
    return (
        f"{size.n_texts} texts of {size.shortest} to {size.longest} tokens, {size.n_new} new tokens, states of block "
        f"{size.model.middle_layer} at all tokens; {size.model}."
    )
