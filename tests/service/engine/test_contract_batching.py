"""Independence from the batch: prompt cache, seeded draws, order of rows, late and cancelled requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest
import torch
from transformers import LogitsProcessorList, RepetitionPenaltyLogitsProcessor

from service.engine.inputs import PromptChoice
from service.engine.requests import Capture, CaptureSpec, Generate, Limits, Sampling
from service.errors import NotFound
from tests.oracle.prompts import OraclePrompt
from tests.oracle.runs import oracle_generate, oracle_states
from tests.service.engine.contract import (
    CASES,
    GREEDY,
    KINDS,
    N_TOKENS,
    TEXTS,
    Answer,
    Case,
    World,
    assert_near,
    completion,
    serve,
    serve_alone,
)

WorldOf = Callable[[str], World]
SAMPLED = {
    "plain": Sampling(seed=1),
    "hot": Sampling(seed=2, temperature=1.7, top_k=40),
    "nucleus": Sampling(seed=3, top_p=0.9),
    "floor": Sampling(seed=4, min_p=0.02),
    "penalties": Sampling(seed=5, repetition_penalty=1.2, presence_penalty=0.6, frequency_penalty=0.3),
    "biased": Sampling(seed=6, logit_bias={9: 2.0, 10: -100.0}),
    "greedy with penalties": Sampling(temperature=0, repetition_penalty=1.5, frequency_penalty=0.5),
}


def tokens(answers: dict[str, Answer]) -> dict[str, list[int]]:
    return {request_id: answer.token_ids() for request_id, answer in answers.items()}


def expected_tokens(world: World, cases: Sequence[Case] = CASES) -> dict[str, list[int]]:
    return {case.request_id: world.expected(case).token_ids for case in cases}


def test_a_full_prompt_cache_gives_each_request_its_own_prompt(llama: World) -> None:
    engine = llama.engine(Limits(prompt_cache_bytes=1, max_rows=5))
    for _ in range(2):
        assert tokens(serve(engine, [completion(case) for case in CASES])) == expected_tokens(llama)
        assert tokens(serve_alone(engine, [completion(case) for case in CASES])) == expected_tokens(llama)


def test_the_prompt_cache_makes_no_difference(llama: World) -> None:
    engine = llama.engine()
    first, again = (tokens(serve(engine, [completion(case) for case in CASES])) for _ in range(2))
    assert first == again == expected_tokens(llama)
    assert engine.stats()["prompt_cache_misses"] == len(KINDS) - 1


@pytest.mark.parametrize(
    "limits",
    [
        Limits(max_rows=1),
        Limits(max_rows=3, max_step_tokens=2),
        Limits(cache_bytes=64 << 10),
        Limits(max_step_tokens=1),
    ],
    ids=str,
)
def test_limits_make_no_difference(llama: World, limits: Limits) -> None:
    assert tokens(serve(llama.engine(limits), [completion(case) for case in CASES])) == expected_tokens(llama)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma2", "gemma3", "mistral", "phi3"])
def test_chunks_that_attend_together_are_plain_chunks(
    world_of: WorldOf, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a GPU: all kinds of prompts, windows, soft caps, and inputs of which a step reads a part."""
    monkeypatch.setattr("service.engine.attention.batch_metadata.is_padded", lambda _device: True)
    world = world_of(architecture)
    for limits in (Limits(), Limits(max_rows=9, max_step_tokens=21)):
        answers = serve(world.engine(limits), [completion(case) for case in world.cases])
        for case in world.cases:
            expected, answer = world.expected(case), answers[case.request_id]
            assert answer.token_ids() == expected.token_ids
            known = [row[i] for row, i in zip(expected.logprobs, expected.token_ids, strict=True)]
            assert_near(
                torch.tensor([one.logprob for one in answer.logprobs()]),
                torch.stack(known).float(),
                what=case.request_id,
            )


@pytest.mark.parametrize(
    "weights", [{"soft": 0.3, "soft-b": 0.7}, {"soft": 1.0}, {"soft": 0.5}, {"soft": 2.0, "soft-b": -1.0}], ids=str
)
def test_a_mix_of_prompts_is_the_prompt_of_the_mixed_vectors(llama: World, weights: dict[str, float]) -> None:
    other = OraclePrompt("soft", {"soft": llama.prompts["soft"].tensors["soft"].flip(0).contiguous()})
    llama.prompts["soft-b"] = other
    known = {"soft": llama.prompts["soft"].tensors["soft"], "soft-b": other.tensors["soft"]}
    mixed = OraclePrompt("soft", {"soft": sum(w * known[name] for name, w in weights.items()) + torch.zeros(5, 56)})
    request = replace(completion(CASES[2]), request_id="mix", prompt=PromptChoice(parts=tuple(weights.items())))
    # The same hashes with other weights are in the same batch.
    others = [replace(request, request_id=name, prompt=PromptChoice(parts=((name, 1.0),))) for name in known]
    answers = serve(llama.engine(), [others[0], request, others[1]])
    expected = oracle_generate(llama.model, llama.parts, CASES[2].ids, mixed, N_TOKENS)
    assert answers["mix"].token_ids() == expected.token_ids
    assert [one.logprob for one in answers["mix"].logprobs()] == pytest.approx(
        [float(row[token_id]) for row, token_id in zip(expected.logprobs, expected.token_ids, strict=True)], abs=1e-4
    )
    assert (
        answers["soft"].token_ids()
        == oracle_generate(llama.model, llama.parts, CASES[2].ids, llama.prompts["soft"], N_TOKENS).token_ids
    )


@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_seeded_draws_are_the_same_alone_and_under_load(world_of: WorldOf, architecture: str) -> None:
    world = world_of(architecture)
    requests = [
        replace(completion(Case(kind, TEXTS[1])), sampling=sampling, request_id=f"{kind} {name}", max_tokens=9, n=2)
        for kind in ("none", "soft", "deep-local", "prefix-long")
        for name, sampling in SAMPLED.items()
    ]
    load = [completion(case) for case in CASES]
    alone = {name: rows(answer) for name, answer in serve_alone(world.engine(), requests).items()}
    crowded = serve(world.engine(Limits(max_rows=17, max_step_tokens=23)), [*load, *requests[::-1]])
    assert {name: rows(crowded[name]) for name in alone} == alone
    # Another seed gives other tokens.
    reseeded = replace(requests[0], sampling=Sampling(seed=99))
    assert rows(serve(world.engine(), [reseeded])[reseeded.request_id]) != alone[reseeded.request_id]


def rows(answer: Answer) -> list[list[int]]:
    return [answer.token_ids(row) for row in sorted(answer.row_done)]


def test_rows_are_numbered_by_input_then_by_n(llama: World) -> None:
    inputs = (TEXTS[3], TEXTS[0], TEXTS[2])
    request = Generate(request_id="x", inputs=inputs, n=2, max_tokens=N_TOKENS, sampling=GREEDY)
    answer = serve(llama.engine(), [request])["x"]
    expected = [llama.expected(Case("none", ids)).token_ids for ids in inputs for _ in range(2)]
    assert rows(answer) == expected
    assert [answer.row_done[row].n_input for row in range(6)] == [17, 17, 1, 1, 9, 9]


def test_the_n_draws_of_one_input_differ_and_are_those_of_each_input_alone(llama: World) -> None:
    request = Generate(
        request_id="x", inputs=(TEXTS[2],), n=3, max_tokens=10, sampling=Sampling(seed=4, temperature=1.5)
    )
    drawn = rows(serve(llama.engine(), [request])["x"])
    assert len({tuple(row) for row in drawn}) == 3
    two_inputs = replace(request, inputs=(TEXTS[1], TEXTS[2]))
    assert rows(serve(llama.engine(), [two_inputs])["x"])[3:] == drawn


def test_late_requests_join_the_batch(llama: World) -> None:
    engine = llama.engine(Limits(max_rows=6))
    answers = {case.request_id: Answer() for case in CASES}
    waiting: Iterator[Case] = iter(CASES)
    for _ in range(500):
        if (case := next(waiting, None)) is not None:
            engine.submit(completion(case))
        elif not engine.has_work:
            break
        for event in engine.step():
            answers[event.request_id].take(event)
    assert tokens(answers) == expected_tokens(llama)


def test_cancelling_a_request_does_not_change_the_others(llama: World) -> None:
    engine = llama.engine(Limits(max_rows=10))
    answers = {case.request_id: Answer() for case in CASES}
    cancelled = {case.request_id for case in CASES[::3]}
    for case in CASES:
        engine.submit(completion(case))
    for step in range(500):
        if step == 3:
            for request_id in (*cancelled, "never heard of"):
                engine.cancel(request_id)
        for event in engine.step():
            assert step < 3 or event.request_id not in cancelled
            answers[event.request_id].take(event)
        if not engine.has_work:
            break
    assert engine.stats()["n_running"] == engine.stats()["n_waiting"] == 0
    kept = [case for case in CASES if case.request_id not in cancelled]
    assert {case.request_id: answers[case.request_id].token_ids() for case in kept} == expected_tokens(llama, kept)


def test_an_unknown_prompt_is_refused_and_other_requests_continue(llama: World) -> None:
    engine = llama.engine()
    with pytest.raises(NotFound):
        engine.submit(completion(Case("missing", TEXTS[0])))
    assert not engine.has_work
    assert tokens(serve(engine, [completion(case) for case in CASES[5:7]])) == expected_tokens(llama, CASES[5:7])


def test_events_of_a_request_end_with_done(llama: World) -> None:
    engine = llama.engine()
    engine.submit(replace(completion(CASES[6]), stream=True))
    kinds = []
    while engine.has_work:
        kinds += [type(event).__name__ for event in engine.step()]
    assert kinds[-2:] == ["RowDone", "Done"]
    assert set(kinds[:-2]) == {"Delta"}


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_string_ends_a_row_and_is_not_sent(llama: World, stream: bool) -> None:
    case = next(case for case in CASES if len(set(llama.expected(case).token_ids)) == N_TOKENS)
    ids = llama.expected(case).token_ids
    request = replace(completion(case), stop=(f"t{ids[3]}",), stream=stream)
    answer = serve(llama.engine(), [request])[case.request_id]
    assert answer.text().split() == [f"t{token_id}" for token_id in ids[:3]]
    assert answer.token_ids() == ids[:4]
    assert (answer.row_done[0].finish_reason, answer.row_done[0].n_generated) == ("stop", 4)


@pytest.mark.parametrize("kind", KINDS)
def test_repetition_penalty_over_input_and_output_is_transformers(llama: World, kind: str) -> None:
    case = Case(kind, TEXTS[2])
    penalty = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(3.0)])
    ids = list(case.ids)
    for _ in range(N_TOKENS):
        logits = oracle_states(llama.model, llama.parts, ids, llama.prompts.get(kind))["logits"][-1:]
        ids.append(int(penalty(torch.tensor([ids]), logits).argmax()))
    request = replace(completion(case), sampling=Sampling(temperature=0, repetition_penalty=3.0, logit_bias={}))
    found = serve(llama.engine(), [request])[case.request_id].token_ids()
    assert found == ids[9 : 9 + len(found)]
    assert len(found) == N_TOKENS or found[-1] == 1


def test_captures_and_completions_share_the_batch_in_any_order(world: World) -> None:
    spec = CaptureSpec(sites=("resid_post",), layers=(1,), positions="last")
    cases = [case for case in world.cases if len(case.ids) in (4, 17)]
    captures = [
        Capture(request_id=f"capture {case.request_id}", inputs=(case.ids,), capture=spec, prompt=case.choice)
        for case in cases
    ]
    requests = [one for pair in zip(captures, [completion(case) for case in cases], strict=True) for one in pair]
    for order in (requests, requests[::-1]):
        answers = serve(world.engine(Limits(max_rows=4, max_step_tokens=9)), order)
        for case in cases:
            assert answers[case.request_id].token_ids() == world.expected(case).token_ids
            found = answers[f"capture {case.request_id}"].result.tensors["resid_post.1"]
            assert_near(found, world.text_states(case.kind, case.ids)["resid_post.1"][-1:], what=case.request_id)
