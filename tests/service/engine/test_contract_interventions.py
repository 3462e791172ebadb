"""Interventions on the residual stream, against the oracle's edits of block outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from service.engine.requests import Capture, CaptureSpec, Generate, Intervention, Positions, Slice
from tests.oracle.models import N_LAYERS
from tests.oracle.runs import Edit, oracle_generate, oracle_states
from tests.service.engine.contract import (
    N_TOKENS,
    TEXTS,
    Case,
    World,
    assert_near,
    completion,
    served,
)

WIDTH = 56
VECTOR = torch.randn(WIDTH, generator=torch.Generator().manual_seed(5))
VECTORS = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(6))


def add(rows: Tensor) -> Tensor:
    return rows + 0.7 * VECTOR


def put(rows: Tensor) -> Tensor:
    return VECTOR.expand_as(rows)


def double(rows: Tensor) -> Tensor:
    return 2 * rows


def project_out(rows: Tensor) -> Tensor:
    unit: Tensor = VECTOR / torch.linalg.vector_norm(VECTOR)
    return rows - torch.outer(rows @ unit, unit)


def at(positions: Callable[[int], slice | list[int]], change: Callable[[Tensor], Tensor]) -> Edit:
    def edit(hidden: Tensor, _: int) -> Tensor:
        where = positions(len(hidden))
        changed = hidden.clone()
        changed[where] = change(hidden[where])
        return changed

    return edit


N_INPUT = 9
CASES: dict[str, tuple[Intervention, dict[int, Edit]]] = {
    "add everywhere in layer 1": (
        Intervention(site="resid_post", layers=(1,), op="add", value=VECTOR, strength=0.7),
        {1: at(lambda n: slice(n), add)},
    ),
    "add in all layers": (
        Intervention(site="resid_post", op="add", value=VECTOR, strength=0.7),
        {layer: at(lambda n: slice(n), add) for layer in range(N_LAYERS)},
    ),
    "set two positions": (
        Intervention(site="resid_post", layers=(0,), positions=(1, -2), op="set", value=VECTOR),
        {0: at(lambda n: [1, N_INPUT - 2], put)},
    ),
    "one vector a position": (
        Intervention(site="resid_post", layers=(-3,), positions=Slice(start=2, stop=5), op="set", value=VECTORS),
        {0: at(lambda n: slice(2, 5), lambda rows: VECTORS)},
    ),
    "scale the last of the input": (
        Intervention(site="resid_post", layers=(0,), positions="last", op="scale", strength=2.0),
        {0: at(lambda n: [N_INPUT - 1], double)},
    ),
    "project out of what is generated": (
        Intervention(site="resid_post", layers=(0,), positions="generated", op="project_out", value=VECTOR),
        {0: at(lambda n: slice(N_INPUT, n), project_out)},
    ),
}
PROMPTS = ("none", "soft", "deep-local", "deep-carried", "prefix")


def request(case: Case, intervention: Intervention, request_id: str) -> Generate:
    return replace(completion(case), interventions=(intervention,), request_id=request_id)


@pytest.mark.parametrize("mode", ["alone", "mixed", "chunked", "streamed"])
@pytest.mark.parametrize("name", list(CASES))
def test_completions_under_an_intervention_are_the_oracles(llama: World, name: str, mode: str) -> None:
    intervention, edits = CASES[name]
    cases = [Case(kind, TEXTS[2]) for kind in PROMPTS]
    # Rows without an intervention run in the same batch and must not change.
    requests = [r for case in cases for r in (request(case, intervention, f"edited {case.kind}"), completion(case))]
    answers = served(llama, mode, requests)
    for case in cases:
        prompt = llama.prompts.get(case.kind)
        edited = oracle_generate(llama.model, llama.parts, case.ids, prompt, N_TOKENS, edits)
        found = answers[f"edited {case.kind}"]
        assert found.token_ids() == edited.token_ids
        expected = [float(row[token_id]) for row, token_id in zip(edited.logprobs, edited.token_ids, strict=True)]
        assert [one.logprob for one in found.logprobs()] == pytest.approx(expected, abs=1e-4)
        assert answers[case.request_id].token_ids() == llama.expected(case).token_ids


@pytest.mark.parametrize("mode", ["alone", "mixed", "chunked"])
@pytest.mark.parametrize("name", [name for name in CASES if "generated" not in name])
def test_activations_under_an_intervention_are_the_oracles(llama: World, name: str, mode: str) -> None:
    intervention, edits = CASES[name]
    cases = [Case(kind, TEXTS[2]) for kind in PROMPTS]
    spec = CaptureSpec(sites=("resid_pre", "resid_post", "attn_out", "logits"))
    requests = [
        Capture(
            request_id=f"{what} {case.kind}",
            inputs=(case.ids,),
            capture=spec,
            prompt=case.choice,
            interventions=(intervention,) if what == "edited" else (),
        )
        for case in cases
        for what in ("edited", "plain")
    ]
    answers = served(llama, mode, requests)
    for case in cases:
        prompt = llama.prompts.get(case.kind)
        edited = oracle_states(llama.model, llama.parts, case.ids, prompt, edits)
        plain = llama.text_states(case.kind, case.ids)
        for label in [
            name for name in answers[f"plain {case.kind}"].result.tensors if name.split(".")[0] in spec.sites
        ]:
            found = answers[f"edited {case.kind}"].result.tensors[label]
            assert_near(found, edited[label][-N_INPUT:], what=f"edited {label}")
            assert_near(answers[f"plain {case.kind}"].result.tensors[label], plain[label], what=f"plain {label}")


@pytest.mark.parametrize("positions", ["all", (0,)])
def test_each_architecture_can_be_edited(world: World, positions: Positions) -> None:
    width = world.model.config.hidden_size
    value = torch.randn(width, generator=torch.Generator().manual_seed(7))
    case = Case("soft", TEXTS[2])
    where = slice(None) if positions == "all" else slice(1)

    def edit(hidden: Tensor, _: int) -> Tensor:
        changed = hidden.clone()
        changed[where] += value
        return changed

    intervention = Intervention(site="resid_post", layers=(1,), positions=positions, op="add", value=value)
    spec = CaptureSpec(sites=("resid_post", "logits"), layers=(1, 2))
    requests = [
        Capture(request_id="x", inputs=(case.ids,), capture=spec, prompt=case.choice, interventions=(intervention,))
    ]
    found = served(world, "alone", requests)["x"].result.tensors
    expected = oracle_states(world.model, world.parts, case.ids, world.prompts["soft"], {1: edit})
    for label in ("resid_post.1", "resid_post.2", "logits"):
        assert_near(found[label], expected[label][-N_INPUT:], what=label)
