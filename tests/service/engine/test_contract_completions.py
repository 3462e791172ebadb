"""Greedy completions and their log-probabilities, against the oracle: every architecture, prompt kind and mode of serving."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch

from service.engine.requests import Generate
from tests.service.engine.contract import (
    CORE,
    GREEDY,
    KINDS,
    N_TOKENS,
    TEXTS,
    TOLERANCE,
    Answer,
    Case,
    World,
    assert_near,
    completion,
    serve,
    served,
)

Serve = Callable[[str], dict[str, Answer]]


@pytest.fixture(scope="module")
def answers(world: World) -> Serve:
    """Mode of serving → the answers to all cases, served once."""
    known: dict[str, dict[str, Answer]] = {}

    def get(mode: str) -> dict[str, Answer]:
        if mode not in known:
            known[mode] = served(world, mode, [completion(case) for case in world.cases])
        return known[mode]

    return get


def text_behind(world: World, input_ids: Sequence[int], token_ids: Sequence[int]) -> str:
    tokenizer = world.hosted.tokenizer
    before, whole = (
        tokenizer.decode(ids, skip_special_tokens=True) for ids in (list(input_ids), [*input_ids, *token_ids])
    )
    assert whole.startswith(before)
    return str(whole[len(before) :])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["alone", "mixed", "chunked", "streamed"])
def test_tokens_and_logprobs_are_the_oracles(world: World, answers: Serve, mode: str, kind: str) -> None:
    for case in [case for case in world.cases if case.kind == kind]:
        answer, expected = answers(mode)[case.request_id], world.expected(case)
        assert answer.failed is None
        assert answer.token_ids() == expected.token_ids
        assert answer.text() == text_behind(world, case.ids, expected.token_ids)
        end = answer.row_done[0]
        assert (end.finish_reason, end.n_input, end.n_generated) == (
            expected.finish_reason,
            len(case.ids),
            len(expected.token_ids),
        )
        reported = answer.logprobs()
        assert [one.token_id for one in reported] == expected.token_ids
        assert [len(one.top) for one in reported] == [2] * len(reported)
        for one, logprobs in zip(reported, expected.logprobs, strict=True):
            best = logprobs.topk(2)
            assert one.logprob == pytest.approx(float(logprobs[one.token_id]), abs=TOLERANCE)
            assert [value for _, _, value in one.top] == pytest.approx(best.values.tolist(), abs=TOLERANCE)
            assert [float(logprobs[i]) for i, _, _ in one.top] == pytest.approx(best.values.tolist(), abs=TOLERANCE)


@pytest.mark.parametrize("kind", KINDS)
def test_streamed_tokens_are_sent_when_they_are_chosen(world: World, answers: Serve, kind: str) -> None:
    for case in [case for case in world.cases if case.kind == kind]:
        deltas = answers("streamed")[case.request_id].deltas[0]
        n_expected = len(world.expected(case).token_ids)
        assert len(deltas) >= n_expected - 1
        assert max(len(delta.token_ids) for delta in deltas) <= 2


@pytest.mark.parametrize("kind", KINDS)
def test_echoed_logprobs_are_the_oracles(world: World, kind: str) -> None:
    case = Case(kind, TEXTS[1])
    request = Generate(
        request_id="echo",
        inputs=(case.ids,),
        max_tokens=3,
        sampling=GREEDY,
        logprobs=1,
        echo=True,
        prompt=case.choice,
    )
    answer = serve(world.engine(), [request])["echo"]
    ids = [*case.ids, *world.expected(case, 3).token_ids]
    assert answer.token_ids() == ids
    reported = answer.logprobs()
    assert [one.token_id for one in reported] == ids
    assert reported[0].logprob is None
    logprobs = world.text_states(kind, ids)["logits"].log_softmax(-1)
    expected = logprobs[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]
    assert_near(torch.tensor([one.logprob for one in reported[1:]]), expected, what="echoed logprobs")


def test_both_finish_reasons_occur(world_of: Callable[[str], World]) -> None:
    """Otherwise the cases above would not test both."""
    for world in map(world_of, CORE):
        assert {world.expected(case).finish_reason for case in world.cases} == {"length", "stop"}


def test_text_inputs_are_tokenized(llama: World) -> None:
    case = Case("none", (9, 33, 60, 2))
    request = Generate(request_id="text", inputs=("t9 t33 t60 t2",), max_tokens=N_TOKENS, sampling=GREEDY)
    answer = serve(llama.engine(), [request])["text"]
    assert answer.token_ids() == llama.expected(case).token_ids
    assert answer.row_done[0].n_input == 4
