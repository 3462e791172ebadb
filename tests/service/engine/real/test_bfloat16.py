"""The correctness contract on pretrained weights, in bfloat16: the engine's rounding errors against those of plain transformers.

Two programs that compute the same function in bfloat16 differ, since sums in another order are rounded differently. The bound is
derived, not chosen from results:

- Both are compared with one reference: the same bfloat16 weights, prompts and token ids, computed in float32. Its own error, of
  order 2^-24, can be neglected beside the unit roundoff of bfloat16, u = 2^-8.
- Products accumulate in float32, and their results are rounded once. An error is therefore a sum of the roundings of tensors
  that are written in bfloat16. Of these the residual stream has two for each of its L = 30 blocks, each at most u of its
  size. Their sum is at most 2Lu (0.23) if all have one sign, and about sqrt(2L/3) u (0.017) if they are independent.
- Blocks amplify these errors, by factors that depend on weights and text and are the same for both programs, because both
  round the same tensors, apart from those inside the attention. If the engine rounds m times where transformers rounds n
  times, the ratio of both errors is about sqrt(m/n). ``MEDIAN`` is sqrt(3/2): the engine may not add half as many roundings.
- One tensor has few independent errors (early roundings dominate all later ones), so a single ratio fluctuates around the
  median. ``SINGLE`` allows two bits.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Final

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from service.engine.model.hosted_model import HostedModel
from service.engine.model.layers.cpu import has_fast_bfloat16
from service.engine.requests import Capture, CaptureSpec, Generate
from tests.oracle.prompts import OraclePrompt
from tests.service.engine.contract import KINDS, SITES, Answer, Case, completion, labels, served
from tests.service.engine.real.real_world import N_LAYERS, RealWorld, cases

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        not has_fast_bfloat16(), reason="this CPU has no bfloat16 instructions: a token would take a second"
    ),
]

UNIT_ROUNDOFF: Final = 2.0**-8
SINGLE: Final = 4.0
MEDIAN: Final = 1.5**0.5
TEXTS = ("The capital of France is", "Question: What is 17 + 25?\nAnswer:")
N_TOKENS = 4
MODES = ("alone", "mixed")
Serve = Callable[[str], dict[str, Answer]]


@pytest.fixture(scope="module")
def world16(converted: Path) -> RealWorld:
    """Plain transformers and the engine in bfloat16."""
    plain = AutoModelForCausalLM.from_pretrained(converted, dtype=torch.bfloat16, attn_implementation="eager")
    hosted = HostedModel.load("smollm2", str(converted), device="cpu", dtype="bfloat16")
    return RealWorld(plain=plain.eval().requires_grad_(False), hosted=hosted, dtype=torch.bfloat16)


@pytest.fixture(scope="module")
def reference(world16: RealWorld) -> RealWorld:
    """The same weights and prompts in float32."""
    found = RealWorld(plain=copy.deepcopy(world16.plain).float(), hosted=world16.hosted)
    found.__dict__["prompts"] = {
        name: OraclePrompt(prompt.kind, {key: value.float() for key, value in prompt.tensors.items()}, prompt.where)
        for name, prompt in world16.prompts.items()
    }
    return found


@pytest.fixture(scope="module")
def all_cases(world16: RealWorld) -> list[Case]:
    return cases(world16, KINDS, TEXTS)


@pytest.fixture(scope="module")
def answers(world16: RealWorld, all_cases: list[Case]) -> Serve:
    """Mode of serving → answers to a completion and a capture of each case."""
    known: dict[str, dict[str, Answer]] = {}

    def get(mode: str) -> dict[str, Answer]:
        if mode not in known:
            spec = CaptureSpec(sites=(*SITES, world16.inner_site))
            requests: list[Generate | Capture] = []
            for case in all_cases:
                requests.append(completion(case, n_tokens=N_TOKENS))
                name = f"capture/{case.request_id}"
                requests.append(Capture(request_id=name, inputs=(case.ids,), capture=spec, prompt=case.choice))
            known[mode] = served(world16, mode, requests)
        return known[mode]

    return get


def error_of(found: Tensor, exact: Tensor) -> float:
    """Root mean square over rows of the error, relative to the row's norm. Of attention patterns: over heads, absolute."""
    difference = torch.linalg.vector_norm(found.float() - exact, dim=-1)
    scale = torch.linalg.vector_norm(exact, dim=-1) if found.ndim == 2 else torch.ones(())
    return float((difference / scale).square().mean().sqrt())


@pytest.mark.parametrize("mode", MODES)
def test_errors_of_states_are_those_of_transformers(
    world16: RealWorld, reference: RealWorld, all_cases: list[Case], answers: Serve, mode: str
) -> None:
    ratios: dict[str, list[float]] = defaultdict(list)
    for case in all_cases:
        found = answers(mode)[f"capture/{case.request_id}"].result.tensors
        plain, exact = (one.text_states(case.kind, case.ids) for one in (world16, reference))
        for label in labels(world16, (*SITES, world16.inner_site)):
            ours, theirs = error_of(found[label], exact[label]), error_of(plain[label], exact[label])
            assert ours <= SINGLE * theirs, f"{label} of {case.request_id}: {ours:.2e}, transformers {theirs:.2e}"
            if theirs > 0:
                ratios[label.split(".")[0]].append(ours / theirs)
    for site, values in ratios.items():
        assert median(values) <= MEDIAN, (
            f"{site}: the engine's errors are {median(values):.2f} times those of transformers"
        )


def test_errors_of_transformers_are_those_of_a_residual_stream(world16: RealWorld, reference: RealWorld) -> None:
    """Otherwise a multiple of them would bound nothing."""
    case = cases(world16, ("none",), TEXTS[:1])[0]
    plain, exact = (one.text_states("none", case.ids) for one in (world16, reference))
    error = error_of(plain[f"resid_post.{N_LAYERS - 1}"], exact[f"resid_post.{N_LAYERS - 1}"])
    assert UNIT_ROUNDOFF / 4 < error < 2 * N_LAYERS * UNIT_ROUNDOFF


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
def test_tokens_and_logprobs_are_within_their_errors(
    world16: RealWorld, reference: RealWorld, all_cases: list[Case], answers: Serve, mode: str, kind: str
) -> None:
    """A token may be another one than the reference's only if both logits are within their errors."""
    for case in [case for case in all_cases if case.kind == kind]:
        answer = answers(mode)[case.request_id]
        ids, first = (*case.ids, *answer.token_ids()), len(case.ids) - 1
        plain, exact = (one.text_states(kind, ids)["logits"][first:-1].double() for one in (world16, reference))
        allowed = SINGLE * float((plain - exact).abs().max())
        chosen = exact[torch.arange(len(exact)), torch.tensor(answer.token_ids())]
        assert float((exact.amax(-1) - chosen).max()) <= 2 * allowed
        for one, logprobs in zip(answer.logprobs(), exact.log_softmax(-1), strict=True):
            # A log-probability is a logit minus a mean of logits in the sense of softmax: two errors at most.
            assert one.logprob == pytest.approx(float(logprobs[one.token_id]), abs=2 * allowed)
