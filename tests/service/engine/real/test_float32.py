"""The correctness contract on pretrained weights, in float32: every kind of prompt, alone, in one batch, and in chunks.

The residual stream of this model has elements near 24,000 at the first position, where neighbouring float32 numbers are 0.002
apart. States are therefore compared relative to the norm of each row. Where two orders of float32 sums differ by more than
the tolerance, the difference is compared with the error that plain transformers itself has against float64.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from service.engine.requests import Capture, CaptureSpec, Generate
from tests.oracle.prompts import OraclePrompt
from tests.service.engine.contract import KINDS, SITES, TOLERANCE, Answer, Case, completion, labels, served
from tests.service.engine.real.real_world import RealWorld, cases

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

TEXTS = ("The capital of France is", "Question: What is 17 + 25?\nAnswer:")
N_TOKENS = 4
MODES = ("alone", "mixed", "chunked")
OF_FLOAT64 = 3.0 if "AVX512" in torch.backends.cpu.get_cpu_capability() else 6.0
"""How many times the error of plain float32 against float64 a difference may be that exceeds the tolerance: both have such an
error, and they add up; the third is for the fluctuation of a maximum over rows. Without AVX-512 a sum has half as many lanes, so
twice as many additions follow each other; the engine's errors were up to 5.4 times those of transformers there.

The error is the larger one of transformers with its own products and with those of oneDNN, which the engine uses. On a CPU with
AMX, oneDNN's products alone make the errors of transformers 6 to 11 times as large (soft prompts, last layer).
"""
ROWS_HINT = 32
"""Rows for which oneDNN packs a weight; another number changes its speed."""
Serve = Callable[[str], dict[str, Answer]]


def requests_of(case: Case, spec: CaptureSpec) -> list[Generate | Capture]:
    """A completion, a trajectory, and a capture of the text."""
    return [
        completion(case, n_tokens=N_TOKENS),
        replace(completion(case, capture=spec, n_tokens=N_TOKENS), request_id=f"trajectory/{case.request_id}"),
        Capture(request_id=f"capture/{case.request_id}", inputs=(case.ids,), capture=spec, prompt=case.choice),
    ]


@pytest.fixture(scope="module")
def all_cases(world: RealWorld) -> list[Case]:
    return cases(world, KINDS, TEXTS)


@pytest.fixture(scope="module")
def answers(world: RealWorld, all_cases: list[Case]) -> Serve:
    """Mode of serving → answers to all requests of all cases."""
    known: dict[str, dict[str, Answer]] = {}

    def get(mode: str) -> dict[str, Answer]:
        if mode not in known:
            spec = CaptureSpec(sites=(*SITES, world.inner_site))
            known[mode] = served(world, mode, [one for case in all_cases for one in requests_of(case, spec)])
        return known[mode]

    return get


@pytest.fixture(scope="module")
def with_onednn(world: RealWorld) -> RealWorld:
    """The same model and prompts in plain transformers, whose linear layers multiply with packed weights of oneDNN."""
    found = RealWorld(plain=copy.deepcopy(world.plain), hosted=world.hosted)
    found.__dict__["prompts"] = world.prompts
    for module in found.plain.modules():
        if isinstance(module, torch.nn.Linear):
            packed = torch.ops.mkldnn._reorder_linear_weight(module.weight.detach(), ROWS_HINT)
            module.forward = partial(_product, packed=packed)  # type: ignore[method-assign]
    return found


def _product(rows: Tensor, *, packed: Tensor) -> Tensor:
    out: Tensor = torch.ops.mkldnn._linear_pointwise(rows, packed, None, "none", [], "")
    return out


@pytest.fixture(scope="module")
def exact(world: RealWorld) -> RealWorld:
    """The same model and prompts in float64."""
    found = RealWorld(plain=copy.deepcopy(world.plain).double(), hosted=world.hosted)
    found.__dict__["prompts"] = {
        name: OraclePrompt(prompt.kind, {key: value.double() for key, value in prompt.tensors.items()}, prompt.where)
        for name, prompt in world.prompts.items()
    }
    return found


def relative(found: Tensor, expected: Tensor) -> float:
    """The largest distance of two rows, relative to the row's norm. Attention patterns: of one head, whose sum is 1."""
    axes = -1 if found.ndim == 3 else tuple(range(1, found.ndim))
    distance = torch.linalg.vector_norm(found.double() - expected.double(), dim=axes)
    return float((distance / torch.linalg.vector_norm(expected.double(), dim=axes).clamp(min=1)).max())


def read_ids(case: Case, answer: Answer) -> tuple[int, ...]:
    return (*case.ids, *answer.token_ids())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
def test_tokens_and_logprobs_are_the_oracles(
    world: RealWorld, all_cases: list[Case], answers: Serve, mode: str, kind: str
) -> None:
    for case in [case for case in all_cases if case.kind == kind]:
        answer, first = answers(mode)[case.request_id], len(case.ids) - 1
        ids = read_ids(case, answer)
        # One run over all tokens: if each token is the best one after those before it, the whole is the oracle's.
        logits = world.text_states(kind, ids)["logits"][first:-1].double()
        best = logits.topk(2, dim=-1).values
        assert float((best[:, 0] - best[:, 1]).min()) > 5 * TOLERANCE, "two tokens are almost equally likely"
        assert answer.token_ids() == logits.argmax(-1).tolist()
        for one, expected in zip(answer.logprobs(), logits.log_softmax(-1), strict=True):
            assert one.logprob == pytest.approx(float(expected[one.token_id]), abs=TOLERANCE)
            for token_id, _, logprob in one.top:
                assert logprob == pytest.approx(float(expected[token_id]), abs=TOLERANCE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("what", ["capture", "trajectory"])
def test_states_are_the_oracles(
    request: pytest.FixtureRequest,
    world: RealWorld,
    all_cases: list[Case],
    answers: Serve,
    what: str,
    mode: str,
    kind: str,
) -> None:
    for case in [case for case in all_cases if case.kind == kind]:
        found = answers(mode)[f"{what}/{case.request_id}"].result.tensors
        ids, n = read_ids(case, answers(mode)[case.request_id]), len(found["token_ids"])
        assert found["token_ids"].tolist() == list(ids[:n])
        assert n >= len(case.ids)
        expected = world.text_states(kind, ids)
        for label in labels(world, (*SITES, world.inner_site)):
            values, wanted = alike(found[label], expected[label])
            if (error := relative(values, wanted)) > TOLERANCE:
                allowed = OF_FLOAT64 * plain_error(request, world, case=Case(kind, ids), label=label, n=n)
                assert error <= allowed, f"{label} of {case.request_id}"


def plain_error(request: pytest.FixtureRequest, world: RealWorld, *, case: Case, label: str, n: int) -> float:
    """Error of float32 transformers against float64, of the first ``n`` rows; the larger one of two kinds of products."""
    expected = request.getfixturevalue("exact").text_states(case.kind, case.ids)[label][:n]
    plain: list[RealWorld] = [world, request.getfixturevalue("with_onednn")]
    return max(relative(one.text_states(case.kind, case.ids)[label][:n], expected) for one in plain)


def alike(found: Tensor, expected: Tensor) -> tuple[Tensor, Tensor]:
    """Both without rows and keys that the other does not have: the oracle also read the last token."""
    n_keys = min(found.shape[-1], expected.shape[-1])
    return found[..., :n_keys], expected[: len(found), ..., :n_keys]


def test_a_prefix_of_a_text_acts_like_the_text(world: RealWorld, answers: Serve) -> None:
    """Its keys and values are those of three tokens, so the answer is that of plain transformers to the longer text."""
    front: Any = (1, 520, 9531)
    case = cases(world, ("prefix",), TEXTS[:1])[0]
    answer = answers("mixed")[case.request_id]
    logits = world.text_states("none", (*front, *read_ids(case, answer)))["logits"]
    assert answer.token_ids() == logits[len(front) + len(case.ids) - 1 : -1].argmax(-1).tolist()


def test_answers_make_sense(world: RealWorld, all_cases: list[Case], answers: Serve) -> None:
    """Wrong rotary embeddings or an order of rows that is not transformers' would leave a fluent but ignorant model."""
    case = next(case for case in all_cases if case.kind == "none")
    assert answers("mixed")[case.request_id].text().startswith(" Paris")
