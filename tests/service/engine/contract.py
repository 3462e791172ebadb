"""The correctness contract: a small model run by the engine, and the same model run by the oracle."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from service.engine.engine import Engine
from service.engine.inputs import PromptChoice
from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt, from_tensors
from service.engine.requests import (
    Capture,
    CaptureSpec,
    Delta,
    Done,
    Event,
    Failed,
    Generate,
    Limits,
    RowDone,
    Sampling,
    Tensors,
    TokenLogprob,
)
from service.errors import NotFound
from tests.oracle.models import ARCHITECTURES, WINDOW, build_model, save
from tests.oracle.prompts import OraclePrompt, deep, prefix, soft, steering
from tests.oracle.runs import Generated, oracle_generate, oracle_states

TOLERANCE = 1e-4
N_TOKENS = 7
KINDS = ("none", "soft", "soft-short", "deep-local", "deep-carried", "prefix", "prefix-long", "steering")
GREEDY = Sampling(temperature=0)
SITES = ("embed", "resid_pre", "resid_post", "attn_out", "mlp_out", "attn_probs", "final_norm", "logits")
TEXTS = (
    (5,),
    (9, 33, 60, 2),
    (8, 77, 90, 4, 41, 3, 12, 66, 5),
    (31, 7, 7, 58, 23, 94, 10, 49, 71, 2, 36, 85, 64, 19, 80, 3, 27),
)
"""Shorter than a sliding window, about as long, and longer."""


@dataclass(frozen=True)
class Case:
    """One text under one prompt."""

    kind: str
    ids: tuple[int, ...]

    @property
    def request_id(self) -> str:
        return f"{self.kind}/{len(self.ids)}"

    @property
    def choice(self) -> PromptChoice | None:
        return None if self.kind == "none" else PromptChoice(parts=((self.kind, 1.0),))


CASES = tuple(Case(kind, ids) for kind in KINDS for ids in TEXTS)
CORE = ("llama", "gpt2", "qwen3", "gemma3", "mistral")
"""Architectures that run every case; the others run those with the second and the last text, to save time."""


class Served(Protocol):
    """A model that the engine serves."""

    @property
    def n_layers(self) -> int: ...
    def engine(self, limits: Limits | None = None) -> Engine: ...


@dataclass
class Answer:
    """All events of one request."""

    deltas: dict[int, list[Delta]] = field(default_factory=lambda: defaultdict(list))
    row_done: dict[int, RowDone] = field(default_factory=dict)
    done: Done | None = None
    failed: Failed | None = None

    def text(self, row: int = 0) -> str:
        return "".join(delta.text for delta in self.deltas[row])

    def token_ids(self, row: int = 0) -> list[int]:
        return [token_id for delta in self.deltas[row] for token_id in delta.token_ids]

    def logprobs(self, row: int = 0) -> list[TokenLogprob]:
        return [logprob for delta in self.deltas[row] for logprob in delta.logprobs]

    @property
    def result(self) -> Tensors:
        assert self.done is not None
        assert self.done.result is not None
        return self.done.result

    def take(self, event: Event) -> None:
        assert self.done is None, "an event after the last"
        assert self.failed is None, "an event after the last"
        if isinstance(event, Delta):
            assert event.row not in self.row_done, "text of a row that has ended"
            self.deltas[event.row].append(event)
        elif isinstance(event, RowDone):
            self.row_done[event.row] = event
        elif isinstance(event, Done):
            self.done = event
        else:
            self.failed = event


class World:
    """One architecture: the oracle's model and prompts, and the engine's copy of the model, read back from its files."""

    def __init__(self, name: str, folder: Path) -> None:
        self.parts = ARCHITECTURES[name].parts
        self.cases = CASES if name in CORE else tuple(case for case in CASES if case.ids in (TEXTS[1], TEXTS[3]))
        self.model = build_model(name)
        save(self.model, folder)
        self.folder = folder
        self._generated: dict[tuple[Case, int], Generated] = {}
        self._states: dict[tuple[str, tuple[int, ...]], dict[str, Tensor]] = {}

    @cached_property
    def hosted(self) -> HostedModel:
        return HostedModel.load("small", str(self.folder), device="cpu", dtype="float32")

    @cached_property
    def prompts(self) -> dict[str, OraclePrompt]:
        model = self.model
        return {
            "soft": soft(model, n_virtual=5, seed=101),
            "soft-short": soft(model, n_virtual=2, seed=102),
            "deep-local": deep(model, layers=(0, 2), where="local", n_virtual=4, seed=103),
            "deep-carried": deep(model, layers=(1, 2), where="carried", n_virtual=3, seed=104),
            "prefix": prefix(model, n_virtual=3, seed=105),
            "prefix-long": prefix(model, n_virtual=WINDOW + 4, seed=106),
            "steering": steering(model, layers=(0, 2), seed=107),
        }

    @property
    def n_layers(self) -> int:
        return len(self.model.get_submodule(self.parts.blocks))

    @property
    def inner_site(self) -> str:
        """A module path of this architecture."""
        return f"{self.parts.blocks}.1.{self.parts.inner}"

    def load_prompt(self, sha256: str) -> Prompt:
        if sha256 not in self.prompts:
            raise NotFound(f"no prompt {sha256}")
        prompt = self.prompts[sha256]
        return from_tensors(prompt.tensors, where=prompt.where)

    def engine(self, limits: Limits | None = None) -> Engine:
        return Engine(self.hosted, limits=limits or Limits(), load_prompt=self.load_prompt)

    def expected(self, case: Case, n_tokens: int = N_TOKENS) -> Generated:
        """The oracle's continuation. Its choices have a margin, so that rounding cannot change them."""
        if (case, n_tokens) not in self._generated:
            run = oracle_generate(self.model, self.parts, case.ids, self.prompts.get(case.kind), n_tokens)
            assert run.smallest_margin > 5 * TOLERANCE, "choose another seed: two tokens are almost equally likely"
            self._generated[case, n_tokens] = run
        return self._generated[case, n_tokens]

    def states(self, kind: str, ids: Sequence[int]) -> dict[str, Tensor]:
        """The oracle's states: virtual rows first; a prefix has none."""
        key = (kind, tuple(ids))
        if key not in self._states:
            self._states[key] = oracle_states(self.model, self.parts, ids, self.prompts.get(kind))
        return self._states[key]

    def text_states(self, kind: str, ids: Sequence[int]) -> dict[str, Tensor]:
        """The oracle's states of the text only."""
        prompt = self.prompts.get(kind)
        n_front = prompt.n_virtual if prompt is not None and prompt.kind != "prefix" else 0
        return {name: tensor[n_front:] for name, tensor in self.states(kind, ids).items()}


def serve(engine: Engine, requests: Iterable[Generate | Capture]) -> dict[str, Answer]:
    """Submit all requests, step until nothing is left, and sort the events by request."""
    answers: dict[str, Answer] = {}
    for request in requests:
        engine.submit(request)
        answers[request.request_id] = Answer()
    for _ in range(3000):
        if not engine.has_work:
            break
        for event in engine.step():
            answers[event.request_id].take(event)
    assert not engine.has_work, "the engine still has work after 3,000 steps"
    return answers


def serve_alone(engine: Engine, requests: Iterable[Generate | Capture]) -> dict[str, Answer]:
    """Submit each request after the previous one has ended."""
    answers: dict[str, Answer] = {}
    for request in requests:
        answers |= serve(engine, [request])
    return answers


def served(world: Served, mode: str, requests: Sequence[Generate | Capture]) -> dict[str, Answer]:
    """Serve the requests ``alone``, ``mixed`` in one batch that is smaller than their number, ``chunked``, or ``streamed``."""
    if mode == "alone":
        return serve_alone(world.engine(), requests)
    if mode == "mixed":
        return serve(world.engine(Limits(max_rows=11)), requests)
    if mode == "chunked":
        return serve(world.engine(Limits(max_step_tokens=3)), requests)
    if mode == "streamed":
        streamed = [replace(r, stream=True) if isinstance(r, Generate) else r for r in requests]
        return serve(world.engine(), streamed)
    raise ValueError(mode)


def completion(case: Case, *, capture: CaptureSpec | None = None, n_tokens: int = N_TOKENS) -> Generate:
    """A greedy request for one case, with the two most probable alternatives of each token."""
    return Generate(
        request_id=case.request_id,
        inputs=(case.ids,),
        max_tokens=n_tokens,
        sampling=GREEDY,
        logprobs=None if capture else 2,
        prompt=case.choice,
        capture=capture,
    )


def labels(world: Served, sites: Sequence[str] = SITES) -> list[str]:
    """Names of all tensors of these sites in all layers."""
    layered = {"resid_pre", "resid_post", "attn_out", "mlp_out", "attn_probs"}
    return [
        label
        for site in sites
        for label in ([f"{site}.{i}" for i in range(world.n_layers)] if site in layered else [site])
    ]


def assert_near(found: Tensor, expected: Tensor, *, what: str) -> None:
    alike = found.shape == expected.shape and found.dtype == expected.dtype
    # A quick comparison first: torch's own is slow, but has the best error message.
    if not alike or not bool(((found - expected).abs() <= TOLERANCE).all()):
        torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE, msg=lambda text: f"{what}: {text}")
