"""Logit lens and nearest embeddings, against plain transformers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from service.engine.comparisons import LensDivergence
from service.engine.requests import Capture, CaptureSpec, Generate, Lens, Nearest, Tensors
from service.errors import InvalidRequest
from tests.oracle.models import N_LAYERS, N_VOCAB
from tests.service.engine.contract import GREEDY, TEXTS, TOLERANCE, Case, World, completion, serve, served

K = 5
LENS = CaptureSpec(sites=("resid_post",), reduce=Lens(k=K))


def capture(spec: CaptureSpec, case: Case, *, name: str = "captured") -> Capture:
    return Capture(request_id=name, inputs=(case.ids,), capture=spec, prompt=case.choice)


def result_of(world: World, request: Capture | Generate, *, mode: str = "alone") -> Tensors:
    return served(world, mode, [request])[request.request_id].result


def expected_logprobs(world: World, states: Tensor) -> Tensor:
    """Final norm and head by hand, with the scaling of each class after its head."""
    logits = world.model.get_output_embeddings()(world.model.get_submodule(world.parts.norm)(states))
    config = world.model.config
    if cap := getattr(config, "final_logit_softcapping", None):
        logits = cap * torch.tanh(logits / cap)
    logits = logits / getattr(config, "logits_scaling", 1.0) * getattr(config, "logit_scale", 1.0)
    logprobs: Tensor = logits.log_softmax(-1)
    return logprobs


def assert_ranked(ids: Tensor, scores: Tensor, expected: Tensor) -> None:
    """ids `[rows, k]` are those of the best ``expected`` `[rows, vocab]`, in order, with their values."""
    assert ids.dtype == torch.int64
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, expected.topk(ids.shape[1]).values, rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(expected.gather(1, ids), scores, rtol=0, atol=TOLERANCE)


def test_the_lens_reads_every_layer_as_the_model_itself_would(world: World) -> None:
    for kind in ("none", "soft"):
        case = Case(kind, TEXTS[3])
        found = result_of(world, capture(LENS, case)).tensors
        states = world.text_states(kind, case.ids)
        for layer in range(N_LAYERS):
            name = f"resid_post.{layer}"
            expected = expected_logprobs(world, states[name])
            assert_ranked(found[f"{name}.lens_ids"], found[f"{name}.lens_logprobs"], expected)
        # At the last layer the lens gives the model's logits, with every scale, cap and projection.
        assert_ranked(found[f"{name}.lens_ids"], found[f"{name}.lens_logprobs"], states["logits"].log_softmax(-1))


def test_divergences_are_those_of_the_distributions(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = Case("none", TEXTS[3]).ids
    bare, tuned = (world.text_states(kind, ids) for kind in ("none", "soft"))
    monkeypatch.setattr("service.engine.activations.logit_lens.CHUNK_VALUES", 2 * N_VOCAB)
    for layer in range(N_LAYERS):
        name = f"resid_post.{layer}"
        p, q = expected_logprobs(world, tuned[name]).double(), expected_logprobs(world, bare[name]).double()
        expected = (p.exp() * (p - q)).sum(-1)
        found = diverged(world, tuned[name], bare[name])
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), expected, rtol=1e-3, atol=1e-5)
        assert diverged(world, tuned[name], tuned[name]).abs().max() < 1e-6
    assert expected.max() > 1e-3


def test_a_missing_state_has_no_divergence(llama: World) -> None:
    states = torch.ones(3, llama.engine().model.d_model)
    others = states.clone()
    others[1] = 0
    assert diverged(llama, states, others).isnan().tolist() == [False, True, False]
    assert diverged(llama, states[:0], others[:0]).shape == (0,)


def test_states_of_another_width_have_no_lens(llama: World) -> None:
    width = llama.engine().model.d_model
    with pytest.raises(InvalidRequest, match=f"expected states of width {width}"):
        diverged(llama, torch.ones(2, width + 1), torch.ones(2, width + 1))


def diverged(world: World, states: Tensor, others: Tensor) -> Tensor:
    request = LensDivergence(request_id="compared", states=states, others=others)
    return world.engine().lens_divergence(request).tensors["kl"]


@pytest.mark.parametrize("mode", ["mixed", "chunked"])
def test_the_lens_does_not_depend_on_other_requests(llama: World, mode: str) -> None:
    case = Case("soft", TEXTS[3])
    alone = result_of(llama, capture(LENS, case)).tensors
    other = capture(replace(LENS, reduce=Nearest(k=2)), case, name="other")
    others: list[Capture | Generate] = [completion(Case("none", TEXTS[2])), other]
    found = served(llama, mode, [capture(LENS, case), *others])["captured"].result.tensors
    assert set(found) == set(alone)
    for name, tensor in alone.items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=TOLERANCE)


def test_rows_positions_and_virtual_ones_as_without_a_lens(llama: World) -> None:
    case = Case("soft", TEXTS[2])
    n = llama.prompts["soft"].n_virtual
    spec = replace(LENS, layers=(1,), positions=(4, 0), include_virtual=True)
    found = result_of(llama, capture(spec, case)).tensors
    assert set(found) == {
        "resid_post.1.lens_ids",
        "resid_post.1.lens_logprobs",
        "row_offsets",
        "token_ids",
        "positions",
    }
    assert found["positions"].tolist() == [*range(-n, 0), 4, 0]
    states = llama.states("soft", case.ids)["resid_post.1"][[*range(n), n + 4, n]]
    assert_ranked(found["resid_post.1.lens_ids"], found["resid_post.1.lens_logprobs"], expected_logprobs(llama, states))


def test_where_a_local_prompt_has_no_states_there_are_no_tokens(llama: World) -> None:
    case = Case("deep-local", TEXTS[0])  # vectors at layers 0 and 2
    spec = replace(LENS, sites=("resid_pre",), layers=(1, 2), include_virtual=True)
    found = result_of(llama, capture(spec, case)).tensors
    n = llama.prompts["deep-local"].n_virtual
    assert (found["resid_pre.1.lens_ids"][:n] == -1).all()
    assert found["resid_pre.1.lens_logprobs"][:n].isnan().all()
    assert (found["resid_pre.2.lens_ids"] >= 0).all()
    assert not found["resid_pre.2.lens_logprobs"].isnan().any()


def test_the_lens_along_a_trajectory(llama: World) -> None:
    case = Case("soft", TEXTS[1])
    spec = replace(LENS, layers=(N_LAYERS - 1,))
    request = replace(completion(case, capture=spec), sampling=GREEDY)
    result = result_of(llama, request)
    ids, generated = result.tensors[f"resid_post.{N_LAYERS - 1}.lens_ids"], result.tensors["generated"]
    written = llama.expected(case).token_ids
    # From the last token of the input on, the first token of each position is the next one generated.
    start = len(case.ids) - 1
    assert ids[start : start + len(written), 0].tolist() == written[: len(ids) - start]
    assert len(ids) == len(generated)
    assert "inputs" in result.metadata


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_nearest_embeddings(world: World, metric: str) -> None:
    case = Case("soft", TEXTS[2])
    spec = CaptureSpec(sites=("resid_post",), layers=(1,), reduce=Nearest(k=K, metric=metric))  # type: ignore[arg-type]
    found = result_of(world, capture(spec, case)).tensors
    states = world.text_states("soft", case.ids)["resid_post.1"].double()
    tokens = world.model.get_input_embeddings()(torch.arange(N_VOCAB)).double()
    if metric == "cosine":
        distances = 1 - torch.nn.functional.cosine_similarity(states[:, None], tokens[None], dim=2)
    else:
        distances = torch.cdist(states, tokens, compute_mode="donot_use_mm_for_euclid_dist")
    ids, scores = found["resid_post.1.nearest_ids"], found["resid_post.1.nearest_distances"]
    torch.testing.assert_close(scores.double(), distances.sort(1).values[:, :K], rtol=1e-4, atol=TOLERANCE)
    torch.testing.assert_close(distances.gather(1, ids), scores.double(), rtol=1e-4, atol=TOLERANCE)


def test_a_token_is_nearest_to_itself_with_distance_zero(llama: World) -> None:
    spec = CaptureSpec(sites=("embed",), reduce=Nearest(k=2))
    found = result_of(llama, capture(spec, Case("none", TEXTS[3]))).tensors
    assert found["embed.nearest_ids"][:, 0].tolist() == list(TEXTS[3])
    assert (found["embed.nearest_distances"][:, 0] == 0).all()
    assert (found["embed.nearest_distances"][:, 1] > 0).all()


def test_many_rows_are_ranked_in_pieces(llama: World, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = result_of(llama, capture(LENS, Case("none", TEXTS[3]))).tensors
    monkeypatch.setattr("service.engine.activations.logit_lens.CHUNK_VALUES", 3 * N_VOCAB)
    pieces = result_of(llama, capture(LENS, Case("none", TEXTS[3]))).tensors
    assert all(torch.allclose(pieces[name], tensor, atol=TOLERANCE) for name, tensor in whole.items())


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (replace(LENS, sites=("logits",)), f"the width of the token embeddings, got {N_VOCAB}"),
        (replace(LENS, sites=("attn_probs",)), "the width of the token embeddings, got one per head and key"),
        (replace(LENS, reduce=Lens(k=N_VOCAB + 1)), f"at most {N_VOCAB} tokens.*, got {N_VOCAB + 1}"),
        (replace(LENS, reduce=Nearest(k=N_VOCAB + 1)), f"at most {N_VOCAB} tokens.*, got {N_VOCAB + 1}"),
    ],
)
def test_unsupported_rankings_are_refused(llama: World, spec: CaptureSpec, why: str) -> None:
    with pytest.raises(InvalidRequest, match=why):
        serve(llama.engine(), [capture(spec, Case("none", TEXTS[0]))])


def test_a_model_with_other_operations_before_its_logits_has_no_lens(
    llama: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = llama.engine()
    forward = llama.hosted.forward
    monkeypatch.setattr(llama.hosted, "forward", lambda *args, **more: forward(*args, **more).flip(-1))
    with pytest.raises(InvalidRequest, match="no logit lens"):
        serve(engine, [capture(LENS, Case("none", TEXTS[0]))])


def test_the_response_has_the_estimated_bytes(llama: World) -> None:
    estimate = llama.engine().estimate(capture(LENS, Case("none", TEXTS[2])))
    found = result_of(llama, capture(LENS, Case("none", TEXTS[2]))).tensors
    own = [tensor for name, tensor in found.items() if "lens" in name]
    assert estimate.n_bytes == sum(tensor.nbytes for tensor in own)
    plain = llama.engine().estimate(capture(replace(LENS, reduce=None), Case("none", TEXTS[2])))
    assert estimate.n_tokens == plain.n_tokens
