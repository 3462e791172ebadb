"""Vectors in place of tokens, against plain transformers with ``inputs_embeds``, and against the same prompt stored."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from service.engine.inputs import Vectors
from service.engine.requests import Capture, CaptureSpec, Generate, Intervention, Limits, Sampling
from service.errors import InvalidRequest
from tests.oracle.models import EOS
from tests.service.engine.contract import (
    GREEDY,
    N_TOKENS,
    TEXTS,
    TOLERANCE,
    Answer,
    Case,
    World,
    assert_near,
    completion,
    serve,
    serve_alone,
)


def embedded(world: World, ids: tuple[int, ...]) -> Tensor:
    return world.model.get_input_embeddings()(torch.tensor(ids)).detach()  # type: ignore[no-any-return]


def drawn(world: World, n: int, *, seed: int) -> Tensor:
    return torch.randn(n, world.hosted.d_model, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def plain(world: World, vectors: Tensor, n_tokens: int = N_TOKENS) -> tuple[list[int], Tensor]:
    """Greedy tokens and their logits, each from a new run of the whole sequence."""
    chosen: list[int] = []
    rows: list[Tensor] = []
    while len(chosen) < n_tokens and EOS not in chosen:
        embeds = torch.cat([vectors, embedded(world, tuple(chosen))]) if chosen else vectors
        rows.append(world.model(inputs_embeds=embeds[None], use_cache=False).logits[0, -1])
        best = rows[-1].topk(2).values
        assert float(best[0] - best[1]) > 5 * TOLERANCE, "choose another seed: two tokens are almost equally likely"
        chosen.append(int(rows[-1].argmax()))
    return chosen, torch.stack(rows)


def of_vectors(id_: str, *vectors: Tensor, **more: Any) -> Generate:
    fields = {"max_tokens": N_TOKENS, "sampling": GREEDY, "logprobs": 2, **more}
    return Generate(request_id=id_, inputs=tuple(Vectors(values=values) for values in vectors), **fields)


def assert_as_plain(world: World, answer: Answer, vectors: Tensor, *, row: int = 0) -> None:
    token_ids, logits = plain(world, vectors)
    assert answer.failed is None
    assert answer.token_ids(row) == token_ids
    assert answer.row_done[row].n_input == len(vectors)
    logprobs = logits.log_softmax(-1)[torch.arange(len(token_ids)), torch.tensor(token_ids)]
    assert_near(torch.tensor([one.logprob for one in answer.logprobs(row)]), logprobs, what="logprobs")
    assert answer.text(row) == world.hosted.tokenizer.decode(token_ids, skip_special_tokens=True)


@pytest.mark.parametrize("mode", ["alone", "chunked", "streamed"])
def test_tokens_and_logprobs_are_those_of_inputs_embeds(world: World, mode: str) -> None:
    limits = Limits(max_step_tokens=3) if mode == "chunked" else Limits()
    vectors = [drawn(world, 3, seed=1), embedded(world, TEXTS[3]), drawn(world, 9, seed=13)]
    answer = serve(world.engine(limits), [of_vectors("v", *vectors, stream=mode == "streamed")])["v"]
    for row, values in enumerate(vectors):
        assert_as_plain(world, answer, values, row=row)


def test_in_one_batch_with_texts_and_stored_prompts(world: World) -> None:
    cases = [Case(kind, TEXTS[1]) for kind in ("none", "soft", "deep-local", "prefix", "steering")]
    vectors = drawn(world, 6, seed=3)
    requests = [completion(case) for case in cases]
    answers = serve(world.engine(), [*requests[:2], of_vectors("v", vectors), *requests[2:]])
    assert_as_plain(world, answers["v"], vectors)
    for case in cases:
        assert answers[case.request_id].token_ids() == world.expected(case).token_ids


def test_a_soft_prompt_and_the_text_as_vectors_equal_the_stored_prompt(world: World) -> None:
    case = Case("soft", TEXTS[1])
    vectors = torch.cat([world.prompts["soft"].tensors["soft"], embedded(world, case.ids)])
    answers = serve(world.engine(), [completion(case), of_vectors("v", vectors)])
    stored, given = answers[case.request_id], answers["v"]
    assert given.token_ids() == stored.token_ids() == world.expected(case).token_ids
    assert_near(
        torch.tensor([one.logprob for one in given.logprobs()]),
        torch.tensor([one.logprob for one in stored.logprobs()]),
        what="logprobs",
    )


@pytest.mark.parametrize("kind", ["soft", "soft-short", "prefix", "deep-carried", "steering"])
def test_vectors_behind_a_stored_prompt_equal_its_text(world: World, kind: str) -> None:
    case = Case(kind, TEXTS[1])
    request = of_vectors("v", embedded(world, case.ids), prompt=case.choice)
    answer = serve(world.engine(), [request])["v"]
    assert answer.token_ids() == world.expected(case).token_ids


def test_states_and_interventions_at_the_vectors(llama: World) -> None:
    vectors = drawn(llama, 4, seed=5)
    spec = CaptureSpec(sites=("embed", "resid_post"), layers=(2,))
    request = Capture(request_id="c", inputs=(Vectors(values=vectors), TEXTS[1]), capture=spec)
    result = serve(llama.engine(), [request])["c"].result
    assert_near(result.tensors["embed"][:4], vectors, what="embed")
    assert result.tensors["token_ids"][:4].tolist() == [-1] * 4
    assert_near(result.tensors["embed"][4:], embedded(llama, TEXTS[1]), what="embed of the text")
    add = Intervention(site="embed", positions=(0,), op="add", value=torch.ones(llama.hosted.d_model))
    changed = Capture(request_id="c", inputs=(Vectors(values=vectors),), capture=spec, interventions=(add,))
    found = serve(llama.engine(), [changed])["c"].result.tensors["embed"]
    assert_near(found, torch.cat([vectors[:1] + 1, vectors[1:]]), what="changed embed")


def test_a_repetition_penalty_counts_generated_tokens_only(llama: World) -> None:
    """The vectors have no tokens: with a penalty, token 0 is as likely as without one, until it is generated."""
    vectors = drawn(llama, 4, seed=5)
    _, logits = plain(llama, vectors, 1)
    answer = serve(
        llama.engine(),
        [of_vectors("v", vectors, max_tokens=1, sampling=Sampling(repetition_penalty=1.9, temperature=0))],
    )
    assert answer["v"].token_ids() == [int(logits[0].argmax())]


def test_several_samples_of_vectors_are_those_of_the_same_text(llama: World) -> None:
    sampling = Sampling(temperature=1.0, seed=7)
    text = Generate(request_id="t", inputs=(TEXTS[1],), n=3, max_tokens=N_TOKENS, sampling=sampling, logprobs=2)
    given = of_vectors("v", embedded(llama, TEXTS[1]), n=3, sampling=sampling)
    answers = serve_alone(llama.engine(), [text, given])
    assert [answers["v"].token_ids(row) for row in range(3)] == [answers["t"].token_ids(row) for row in range(3)]


@pytest.mark.parametrize(
    ("vectors", "more", "says"),
    [
        (torch.zeros(4, 55), {}, r"expected shape \[n, 56\] with n at least 1, got \[4, 55\]"),
        (torch.zeros(0, 56), {}, r"got \[0, 56\]"),
        (torch.zeros(56), {}, r"got \[56\]"),
        (torch.zeros(122, 56), {}, r"maximum context length is 128 tokens\. .* 122 input \+ 7 new"),
        (torch.zeros(4, 56), {"echo": True}, "echo: expected false for vectors"),
        (torch.zeros(4, 56), {"prompt_logprobs": 0}, "prompt_logprobs: expected null for vectors"),
    ],
)
def test_what_does_not_fit_is_refused(llama: World, vectors: Tensor, more: dict[str, Any], says: str) -> None:
    engine = llama.engine()
    with pytest.raises(InvalidRequest, match=says):
        engine.submit(of_vectors("v", vectors, **more))
    assert not engine.has_work
