"""The contract of ensembles: the mean of the members' probabilities by plain transformers, alone and in any batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from service.engine.inputs import PromptChoice
from service.engine.requests import Capture, CaptureSpec, Generate, Limits, Sampling
from service.errors import InvalidRequest
from tests.oracle.models import EOS
from tests.oracle.runs import oracle_generate
from tests.service.engine.contract import (
    CASES,
    GREEDY,
    N_TOKENS,
    TEXTS,
    TOLERANCE,
    World,
    assert_near,
    completion,
    serve,
    served,
)

MEMBERS = ("soft", "soft-short", "deep-carried", "prefix", "steering")


def choice_of(members: Sequence[str]) -> PromptChoice:
    return PromptChoice(parts=tuple((name, 1.0) for name in members), is_ensemble=True)


def ensemble(ids: tuple[int, ...], members: Sequence[str] = MEMBERS) -> Generate:
    return Generate(
        request_id=f"ensemble/{len(ids)}/{len(members)}",
        inputs=(ids,),
        max_tokens=N_TOKENS,
        sampling=GREEDY,
        logprobs=3,
        prompt=choice_of(members),
    )


def expected(world: World, ids: tuple[int, ...], members: Sequence[str]) -> tuple[list[int], torch.Tensor]:
    """Greedy tokens of the averaged probabilities, and the log of the average `[n, vocab]`, each from whole runs."""
    chosen: list[int] = []
    rows = []
    while len(chosen) < N_TOKENS and EOS not in chosen:
        each = [
            oracle_generate(world.model, world.parts, [*ids, *chosen], world.prompts[name], 1).logits[0].double()
            for name in members
        ]
        rows.append(torch.stack([logits.softmax(-1) for logits in each]).mean(0).log())
        best = rows[-1].topk(2).values
        assert float(best[0] - best[1]) > TOLERANCE, "choose another text: two tokens are almost equally likely"
        chosen.append(int(rows[-1].argmax()))
    return chosen, torch.stack(rows)


@pytest.mark.parametrize("mode", ["alone", "mixed", "chunked", "streamed"])
def test_tokens_and_log_probabilities_are_those_of_the_mean(world: World, mode: str) -> None:
    texts = (TEXTS[1], TEXTS[3])
    ensembles = [ensemble(ids, members) for ids in texts for members in (MEMBERS, MEMBERS[:2])]
    others = [completion(case) for case in CASES if case.ids in texts]
    requests = [request for pair in zip(ensembles, others, strict=False) for request in pair]
    answers = served(world, mode, requests)
    for request in ensembles:
        ids, members = request.inputs[0], [name for name, _ in request.prompt.parts] if request.prompt else []
        assert isinstance(ids, tuple)
        tokens, logprobs = expected(world, ids, members)
        answer = answers[request.request_id]
        assert answer.token_ids() == tokens
        for step, found in enumerate(answer.logprobs()):
            assert found.logprob == pytest.approx(float(logprobs[step, tokens[step]]), abs=TOLERANCE)
            best = logprobs[step].topk(3)
            assert [token for token, _, _ in found.top] == best.indices.tolist()
            assert [value for _, _, value in found.top] == pytest.approx(best.values.tolist(), abs=TOLERANCE)
    for other in requests:
        if other not in ensembles:
            case = next(case for case in CASES if case.request_id == other.request_id)
            assert answers[other.request_id].token_ids() == world.expected(case).token_ids


def test_sampling_applies_to_the_mean(world: World) -> None:
    """With top_k 1 the most probable token of the mean is drawn; a bias that dwarfs all logits decides the token."""
    tokens, _ = expected(world, TEXTS[1], MEMBERS)
    request = ensemble(TEXTS[1])
    drawn = replace(request, request_id="k", sampling=Sampling(temperature=1.7, top_k=1, seed=3))
    biased = replace(request, request_id="b", sampling=Sampling(temperature=0, logit_bias={17: 1e4}))
    answers = serve(world.engine(), [drawn, biased])
    assert answers["k"].token_ids() == tokens
    assert answers["b"].token_ids() == [17] * N_TOKENS


def test_drawn_tokens_do_not_depend_on_the_batch(world: World) -> None:
    sampling = Sampling(temperature=1.3, top_p=0.9, seed=11)
    request = replace(ensemble(TEXTS[3]), sampling=sampling, n=2, logprobs=None)
    alone = serve(world.engine(), [request])[request.request_id]
    others = [completion(case) for case in CASES[:6]]
    mixed = serve(world.engine(Limits(max_rows=13)), [*others, request])[request.request_id]
    assert [alone.token_ids(row) for row in (0, 1)] == [mixed.token_ids(row) for row in (0, 1)]


def test_activations_have_a_row_for_each_member(world: World) -> None:
    spec = CaptureSpec(sites=("resid_post",), layers=(1,))
    inputs = (TEXTS[1], TEXTS[2])
    request = Capture(request_id="c", inputs=inputs, capture=spec, prompt=choice_of(MEMBERS))
    result = serve(world.engine(), [request])["c"].result
    offsets = result.tensors["row_offsets"].tolist()
    pairs = [(ids, name) for ids in inputs for name in MEMBERS]
    assert len(offsets) == len(pairs) + 1
    for (ids, name), begin, end in zip(pairs, offsets[:-1], offsets[1:], strict=True):
        states = world.text_states(name, ids)["resid_post.1"]
        assert_near(result.tensors["resid_post.1"][begin:end], states, what=f"{name} on {len(ids)} tokens")


def test_trajectories_have_a_row_for_each_member(world: World) -> None:
    spec = CaptureSpec(sites=("resid_post",), layers=(1,))
    request = replace(ensemble(TEXTS[1]), request_id="t", capture=spec, logprobs=None)
    tokens, logprobs = expected(world, TEXTS[1], MEMBERS)
    result = serve(world.engine(), [request])["t"].result
    offsets = result.tensors["row_offsets"].tolist()
    assert len(offsets) == len(MEMBERS) + 1
    for name, begin, end in zip(MEMBERS, offsets[:-1], offsets[1:], strict=True):
        read = result.tensors["token_ids"][begin:end].tolist()
        assert read == [*TEXTS[1], *tokens][: len(read)]
        states = world.text_states(name, tuple(read))["resid_post.1"]
        assert_near(result.tensors["resid_post.1"][begin:end], states, what=name)
        own = result.tensors["logprobs"][begin:end]
        assert math.isnan(float(own[0]))
        reached = own[len(TEXTS[1]) :].tolist()
        assert reached == pytest.approx([float(logprobs[i, tokens[i]]) for i in range(len(reached))], abs=TOLERANCE)


@pytest.mark.parametrize(
    ("change", "name"),
    [({"prompt_logprobs": 1}, "prompt_logprobs"), ({"echo": True}, "echo")],
)
def test_log_probabilities_of_the_input_are_refused(world: World, change: dict[str, object], name: str) -> None:
    with pytest.raises(InvalidRequest, match=name):
        world.engine().submit(replace(ensemble(TEXTS[1]), **change))  # type: ignore[arg-type]


def test_an_ensemble_larger_than_the_batch_is_refused(world: World) -> None:
    with pytest.raises(InvalidRequest, match="takes 5 rows of the batch, which has 4"):
        world.engine(Limits(max_rows=4)).submit(ensemble(TEXTS[1]))
