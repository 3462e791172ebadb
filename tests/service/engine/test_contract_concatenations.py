"""Prompts one after the other, against plain transformers with the concatenated vectors, or the concatenated cache, in front."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from service.engine.inputs import PromptChoice
from service.engine.requests import Capture, CaptureSpec, Generate
from service.errors import ContextLengthExceeded, InvalidRequest
from tests.oracle.prompts import OraclePrompt
from tests.oracle.runs import Generated, oracle_generate, oracle_states
from tests.service.engine.contract import (
    CASES,
    GREEDY,
    TEXTS,
    TOLERANCE,
    World,
    assert_near,
    completion,
    serve,
    served,
)

CHAINS = (
    ("soft", "soft-short"),
    ("soft-short", "soft", "soft-short"),
    ("prefix", "prefix-long"),
    ("deep-local", "deep-local"),
    ("deep-carried", "deep-carried"),
)
N_TOKENS = 4


def joined(world: World, chain: Sequence[str]) -> OraclePrompt:
    """The prompt that the oracle puts in front of a text."""
    parts = [world.prompts[name] for name in chain]
    axis = 3 if parts[0].kind == "prefix" else 0
    tensors = {name: torch.cat([part.tensors[name] for part in parts], dim=axis) for name in parts[0].tensors}
    return OraclePrompt(parts[0].kind, tensors, parts[0].where)


def choice_of(chain: Sequence[str]) -> PromptChoice:
    return PromptChoice(parts=tuple((name, 1.0) for name in chain), is_concat=True)


def request_of(chain: Sequence[str], ids: tuple[int, ...], *, capture: CaptureSpec | None = None) -> Generate:
    return Generate(
        request_id=f"{'+'.join(chain)}/{len(ids)}",
        inputs=(ids,),
        max_tokens=N_TOKENS,
        sampling=GREEDY,
        logprobs=None if capture else 2,
        prompt=choice_of(chain),
        capture=capture,
    )


def expected(world: World, chain: Sequence[str], ids: tuple[int, ...]) -> Generated:
    run = oracle_generate(world.model, world.parts, ids, joined(world, chain), N_TOKENS)
    assert run.smallest_margin > 2 * TOLERANCE, "choose another text: two tokens are almost equally likely"
    return run


def text_states(world: World, chain: Sequence[str], ids: Sequence[int]) -> Tensor:
    """``resid_post`` of block 1 at the text."""
    found = oracle_states(world.model, world.parts, ids, joined(world, chain))["resid_post.1"]
    return found[-len(ids) :]


@pytest.mark.parametrize("mode", ["alone", "mixed", "chunked", "streamed"])
def test_tokens_and_log_probabilities_are_the_oracles(world: World, mode: str) -> None:
    texts = (TEXTS[1], TEXTS[3])
    others = [completion(case) for case in world.cases if case.ids == TEXTS[1]]
    requests = [request_of(chain, ids) for chain in CHAINS for ids in texts]
    answers = served(world, mode, [*others[:4], *requests, *others[4:]])
    for chain in CHAINS:
        for ids in texts:
            answer, run = answers[request_of(chain, ids).request_id], expected(world, chain, ids)
            assert answer.token_ids() == run.token_ids, chain
            for i, found in enumerate(answer.logprobs()):
                best = run.logprobs[i].topk(2).values
                assert [value for _, _, value in found.top] == pytest.approx(best.tolist(), abs=TOLERANCE)
    for case in CASES:
        if case.request_id in answers:
            assert answers[case.request_id].token_ids() == world.expected(case).token_ids


@pytest.mark.parametrize("chain", CHAINS)
def test_activations_and_trajectories_are_the_oracles(world: World, chain: tuple[str, ...]) -> None:
    spec = CaptureSpec(sites=("resid_post",), layers=(1,))
    ids = TEXTS[3]
    activations = Capture(request_id="activations", inputs=(ids,), capture=spec, prompt=choice_of(chain))
    trajectory = request_of(chain, ids, capture=spec)
    answers = serve(world.engine(), [activations, trajectory])
    states = answers["activations"].result.tensors["resid_post.1"]
    assert_near(states, text_states(world, chain, ids), what="activations")
    read = answers[trajectory.request_id].result.tensors["token_ids"].tolist()
    run = expected(world, chain, ids)
    assert read == [*ids, *run.token_ids[: run.n_read]]
    states = answers[trajectory.request_id].result.tensors["resid_post.1"]
    assert_near(states, text_states(world, chain, read), what="trajectory")


def test_states_of_virtual_positions_are_those_of_all_parts(llama: World) -> None:
    chain = ("soft", "soft-short")
    spec = CaptureSpec(sites=("embed", "resid_post"), layers=(1,), include_virtual=True)
    request = Capture(request_id="x", inputs=(TEXTS[1],), capture=spec, prompt=choice_of(chain))
    found = serve(llama.engine(), [request])["x"].result.tensors
    states = oracle_states(llama.model, llama.parts, TEXTS[1], joined(llama, chain))
    assert_near(found["embed"], states["embed"], what="embed")
    assert_near(found["resid_post.1"], states["resid_post.1"], what="resid_post.1")


def test_the_order_counts_and_neither_order_is_the_mix(llama: World) -> None:
    """All three have the same parts, and one cache of compiled prompts."""
    engine = llama.engine()
    spec = CaptureSpec(sites=("resid_post",), layers=(1,))
    choices = {
        "a": choice_of(("soft", "soft-short")),
        "b": choice_of(("soft-short", "soft")),
        "c": choice_of(("soft", "soft")),
        "mix": PromptChoice(parts=(("soft", 1.0), ("soft", 1.0))),
    }
    requests = [
        Capture(request_id=name, inputs=(TEXTS[1],), capture=spec, prompt=choice) for name, choice in choices.items()
    ]
    states = [answer.result.tensors["resid_post.1"] for answer in serve(engine, requests).values()]
    for i, one in enumerate(states):
        assert all(not torch.allclose(one, other, atol=1e-3) for other in states[i + 1 :])


@pytest.mark.parametrize(
    ("chain", "says"),
    [
        (("steering", "steering"), "steering prompts have no virtual positions"),
        (("soft", "prefix"), "one kind"),
        (("soft", "steering"), "one kind"),
        (("deep-local", "deep-carried"), "same layers"),
    ],
)
def test_what_cannot_follow_is_refused(llama: World, chain: tuple[str, ...], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        llama.engine().submit(request_of(chain, TEXTS[1]))


def test_all_positions_count_against_the_context(llama: World) -> None:
    n_positions = llama.hosted.n_positions
    n_each = llama.prompts["soft"].n_virtual
    fitting = (n_positions - len(TEXTS[1]) - N_TOKENS) // n_each
    llama.engine().submit(request_of(("soft",) * fitting, TEXTS[1]))
    with pytest.raises(ContextLengthExceeded, match=f"{n_each * (fitting + 1)} virtual"):
        llama.engine().submit(request_of(("soft",) * (fitting + 1), TEXTS[1]))
    n_parts = -(-n_positions // n_each)
    with pytest.raises(InvalidRequest, match=f"got {n_each * n_parts}"):
        llama.engine().submit(request_of(("soft",) * n_parts, TEXTS[1]))
