"""Trajectories: generated tokens with their log-probabilities and states, against the oracle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from service.engine.requests import CaptureSpec, Generate
from tests.oracle.runs import Generated
from tests.service.engine.contract import (
    GREEDY,
    KINDS,
    N_TOKENS,
    SITES,
    TEXTS,
    Answer,
    Case,
    World,
    assert_near,
    completion,
    labels,
    serve,
    served,
)

N_READ = 5
"""Tokens of a trajectory: fewer than of a completion, since all sites of each token are kept."""
Serve = Callable[[str], dict[str, Answer]]


@pytest.fixture(scope="module")
def answers(world: World) -> Serve:
    """Mode of serving → the trajectories of all cases, served once."""
    known: dict[str, dict[str, Answer]] = {}

    def get(mode: str) -> dict[str, Answer]:
        if mode not in known:
            spec = CaptureSpec(sites=(*SITES, world.inner_site))
            known[mode] = served(world, mode, [completion(case, capture=spec, n_tokens=N_READ) for case in world.cases])
        return known[mode]

    return get


def read_ids(case: Case, run: Generated) -> list[int]:
    """Tokens that have a state; an end-of-text token is not read."""
    return [*case.ids, *run.token_ids[: run.n_read]]


def own_logprobs(run: Generated) -> Tensor:
    return run.logprobs[torch.arange(len(run.token_ids)), torch.tensor(run.token_ids)].float()


def summaries(answer: Answer) -> Sequence[Mapping[str, Any]]:
    return cast(Sequence[Mapping[str, Any]], answer.result.metadata["inputs"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["alone", "mixed", "chunked", "streamed"])
def test_trajectories_are_the_oracles(world: World, answers: Serve, mode: str, kind: str) -> None:
    for case in [case for case in world.cases if case.kind == kind]:
        answer, run = answers(mode)[case.request_id], world.expected(case, N_READ)
        found, ids, n_input = answer.result.tensors, read_ids(case, run), len(case.ids)
        states = world.text_states(kind, ids)
        for label in labels(world, (*SITES, world.inner_site)):
            n_keys = states[label].shape[-1]
            assert_near(found[label][..., :n_keys], states[label], what=f"{label} of {case.request_id}")
            assert not found[label][..., n_keys:].any()
        assert found["token_ids"].tolist() == ids
        assert found["positions"].tolist() == list(range(len(ids)))
        assert found["row_offsets"].tolist() == [0, len(ids)]
        assert found["generated"].tolist() == [position >= n_input for position in range(len(ids))]
        assert_near(found["logprobs"][n_input:], own_logprobs(run)[: run.n_read], what="logprobs")
        assert found["logprobs"][:n_input].isnan().all()
        (summary,) = summaries(answer)
        assert (summary["finish_reason"], summary["n_input"], summary["n_generated"]) == (
            run.finish_reason,
            n_input,
            len(run.token_ids),
        )
        assert summary["text"] == answer.text()


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_one_row_earlier_predicted_the_token(world: World, answers: Serve, kind: str) -> None:
    case = Case(kind, TEXTS[3])
    found = answers("mixed")[case.request_id].result.tensors
    ids = found["token_ids"]
    predicted = found["logits"].argmax(-1)
    generated = found["generated"].nonzero().squeeze(1)
    assert torch.equal(predicted[generated - 1], ids[generated])


@pytest.mark.parametrize("kind", KINDS)
def test_states_of_the_input_may_be_left_out(llama: World, kind: str) -> None:
    case = Case(kind, TEXTS[2])
    request = Generate(
        request_id="x",
        inputs=(case.ids,),
        max_tokens=N_TOKENS,
        sampling=GREEDY,
        prompt=case.choice,
        capture=CaptureSpec(sites=("resid_post",), layers=(1,)),
        include_input=False,
    )
    found = serve(llama.engine(), [request])["x"].result.tensors
    run = llama.expected(case)
    expected = llama.text_states(kind, read_ids(case, run))["resid_post.1"][len(case.ids) :]
    assert_near(found["resid_post.1"], expected, what="resid_post.1")
    assert found["generated"].all()
    assert found["positions"].tolist() == list(range(9, 9 + run.n_read))
    assert_near(found["logprobs"], own_logprobs(run)[: run.n_read], what="logprobs")


@pytest.mark.parametrize("mode", ["alone", "chunked"])
def test_several_trajectories_of_several_inputs_are_in_order(llama: World, mode: str) -> None:
    inputs = (TEXTS[3], TEXTS[1])
    request = Generate(
        request_id="x",
        inputs=inputs,
        n=2,
        max_tokens=4,
        sampling=GREEDY,
        prompt=Case("deep-carried", ()).choice,
        capture=CaptureSpec(sites=("resid_post",), layers=(2,), reduce="norm"),
    )
    answer = served(llama, mode, [request])["x"]
    found = answer.result.tensors
    offsets = found["row_offsets"].tolist()
    for row, ids in enumerate((inputs[0], inputs[0], inputs[1], inputs[1])):
        case = Case("deep-carried", ids)
        read = read_ids(case, llama.expected(case, 4))
        part = slice(offsets[row], offsets[row + 1])
        assert found["token_ids"][part].tolist() == read
        expected = llama.text_states("deep-carried", read)["resid_post.2"].norm(dim=1)
        assert_near(found["resid_post.2"][part], expected, what=f"trajectory {row}")
    assert [summary["n_input"] for summary in summaries(answer)] == [17, 17, 4, 4]
