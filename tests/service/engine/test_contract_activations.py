"""Activations at every site, against the oracle's hooks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from service.engine.requests import Capture, CaptureSpec, Generate, Positions, Projection, Slice, Tensors
from tests.oracle.models import N_LAYERS
from tests.service.engine.contract import (
    KINDS,
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

Serve = Callable[[str], dict[str, Answer]]
MODES = ("alone", "mixed", "chunked")


def all_sites(world: World) -> tuple[str, ...]:
    return (*SITES, world.inner_site)


def capture(case: Case, spec: CaptureSpec) -> Capture:
    return Capture(request_id=f"capture/{case.request_id}", inputs=(case.ids,), capture=spec, prompt=case.choice)


@pytest.fixture(scope="module")
def answers(world: World) -> Serve:
    """Mode of serving → answers to captures of all cases, together with completions if the mode is mixed."""
    known: dict[str, dict[str, Answer]] = {}

    def get(mode: str) -> dict[str, Answer]:
        if mode not in known:
            spec = CaptureSpec(sites=all_sites(world))
            requests: list[Generate | Capture] = []
            for case in world.cases:
                requests.append(capture(case, spec))
                if mode == "mixed":
                    requests.append(completion(case))
            known[mode] = served(world, mode, requests)
        return known[mode]

    return get


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
def test_states_of_the_text_are_the_oracles(world: World, answers: Serve, mode: str, kind: str) -> None:
    for case in [case for case in world.cases if case.kind == kind]:
        found = answers(mode)[f"capture/{case.request_id}"].result.tensors
        expected = world.text_states(kind, case.ids)
        assert set(found) == {*labels(world, all_sites(world)), "row_offsets", "token_ids", "positions"}
        for label in labels(world, all_sites(world)):
            assert_near(found[label], expected[label], what=f"{label} of {case.request_id}")
        assert found["token_ids"].tolist() == list(case.ids)
        assert found["positions"].tolist() == list(range(len(case.ids)))
        assert found["row_offsets"].tolist() == [0, len(case.ids)]


@pytest.mark.parametrize("kind", KINDS)
def test_completions_in_a_batch_with_captures_are_the_oracles(world: World, answers: Serve, kind: str) -> None:
    for case in [case for case in world.cases if case.kind == kind]:
        assert answers("mixed")[case.request_id].token_ids() == world.expected(case).token_ids


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
def test_rows_of_several_inputs_are_in_their_order(llama: World, mode: str, kind: str) -> None:
    inputs = (TEXTS[2], TEXTS[0], TEXTS[3], TEXTS[1], TEXTS[2])
    spec = CaptureSpec(sites=("resid_post", "attn_probs"), layers=(-1,))
    request = Capture(request_id="several", inputs=inputs, capture=spec, prompt=Case(kind, ()).choice)
    found = served(llama, mode, [request])["several"].result.tensors
    offsets = found["row_offsets"].tolist()
    assert offsets == [0, 9, 10, 27, 31, 40]
    assert found["token_ids"].tolist() == [token_id for ids in inputs for token_id in ids]
    for ids, start, end in zip(inputs, offsets, offsets[1:], strict=False):
        expected = llama.text_states(kind, ids)
        last = N_LAYERS - 1
        assert_near(found[f"resid_post.{last}"][start:end], expected[f"resid_post.{last}"], what="resid_post")
        pattern = expected[f"attn_probs.{last}"]
        n_keys = pattern.shape[-1]
        assert_near(found[f"attn_probs.{last}"][start:end, :, :n_keys], pattern, what="attn_probs")
        assert not found[f"attn_probs.{last}"][start:end, :, n_keys:].any()


@pytest.mark.parametrize("kind", ["soft", "deep-local", "deep-carried", "prefix"])
def test_virtual_rows_come_first(world: World, kind: str) -> None:
    case = Case(kind, TEXTS[2])
    prompt = world.prompts[kind]
    n = prompt.n_virtual
    # Below its first layer, a deep prompt has no states at the virtual positions.
    sites = tuple(site for site in all_sites(world) if site != "embed" or kind == "soft")
    spec = CaptureSpec(sites=sites, include_virtual=True)
    found = serve(world.engine(), [capture(case, spec)])[f"capture/{case.request_id}"].result.tensors
    assert found["positions"].tolist() == [*range(-n, 0), *range(9)]
    assert found["token_ids"].tolist() == [*[-1] * n, *case.ids]
    expected = world.text_states(kind, case.ids) if kind == "prefix" else world.states(kind, case.ids)
    for label in labels(world, sites):
        text = found[label][n:]
        assert_near(text, expected[label][-9:], what=label)
        if has_virtual_states(world, kind, label):
            assert_near(found[label][:n], expected[label][:n], what=f"virtual {label}")
        else:
            assert not found[label][:n].any(), label


def has_virtual_states(world: World, kind: str, label: str) -> bool:
    prompt = world.prompts[kind]
    if kind in ("soft", "prefix"):
        return kind == "soft"
    if label in ("final_norm", "logits"):
        return kind == "deep-carried"
    layer = 1 if label == world.inner_site else int(label.split(".")[1])
    return prompt.is_visible(layer)


@pytest.mark.parametrize(
    ("positions", "expected"),
    [
        ("last", [8]),
        ((0, -1, 4), [0, 8, 4]),
        ((3, 3), [3, 3]),
        (Slice(start=2, stop=5), [2, 3, 4]),
        (Slice(start=-3), [6, 7, 8]),
        (Slice(stop=-7), [0, 1]),
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_chosen_positions_are_in_the_order_of_the_request(
    llama: World, mode: str, positions: Positions, expected: list[int]
) -> None:
    case = Case("soft", TEXTS[2])
    spec = CaptureSpec(sites=all_sites(llama), positions=positions)
    found = served(llama, mode, [capture(case, spec)])[f"capture/{case.request_id}"].result.tensors
    states = llama.text_states("soft", case.ids)
    assert found["positions"].tolist() == expected
    assert found["token_ids"].tolist() == [case.ids[p] for p in expected]
    for label in labels(llama, all_sites(llama)):
        assert_near(found[label], states[label][expected], what=label)


@pytest.mark.parametrize("mode", MODES)
def test_reductions(llama: World, mode: str) -> None:
    generator = torch.Generator().manual_seed(1)
    width = llama.model.config.hidden_size
    projection = Projection(
        mean=torch.randn(width, generator=generator), components=torch.randn(2, width, generator=generator)
    )
    case = Case("soft", TEXTS[3])
    states = llama.text_states("soft", case.ids)
    sites = ("embed", "resid_post", "final_norm")
    spec = CaptureSpec(sites=sites, layers=(0, 2), positions=Slice(start=1))
    specs = {
        "mean": replace(spec, reduce="mean"),
        "norm": replace(spec, reduce="norm"),
        "project": replace(spec, reduce=projection),
    }
    requests = [replace(capture(case, one), request_id=name) for name, one in specs.items()]
    found = {name: answer.result.tensors for name, answer in served(llama, mode, requests).items()}
    for label in ("embed", "resid_post.0", "resid_post.2", "final_norm"):
        rows = states[label][1:]
        assert_near(found["mean"][label], rows.mean(0, keepdim=True), what=label)
        assert_near(found["norm"][label], rows.norm(dim=1), what=label)
        assert_near(found["project"][label], (rows - projection.mean) @ projection.components.T, what=label)
    assert set(found["mean"]) == {"embed", "resid_post.0", "resid_post.2", "final_norm", "row_offsets"}
    assert found["mean"]["row_offsets"].tolist() == [0, 1]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("include_virtual", [False, True])
def test_attention_patterns_of_unequal_texts_have_a_mean(llama: World, mode: str, include_virtual: bool) -> None:
    prompt = llama.prompts["deep-carried"]
    inputs = (TEXTS[3], TEXTS[1], TEXTS[2])
    spec = CaptureSpec(sites=("attn_probs", "resid_post"), layers=(1,), reduce="mean", include_virtual=include_virtual)
    request = Capture(request_id="x", inputs=inputs, capture=spec, prompt=Case("deep-carried", ()).choice)
    found = served(llama, mode, [request])["x"].result.tensors
    n_keys = prompt.n_virtual + max(map(len, inputs))
    assert found["attn_probs.1"].shape == (3, llama.model.config.num_attention_heads, n_keys)
    for row, ids in enumerate(inputs):
        states = llama.states("deep-carried", ids)
        for label in ("attn_probs.1", "resid_post.1"):
            mean = states[label][0 if include_virtual else -len(ids) :].mean(0)
            assert_near(found[label][row, ..., : mean.shape[-1]], mean, what=label)
            assert not found[label][row, ..., mean.shape[-1] :].any()


def test_transformer_lens_names_are_aliases(llama: World) -> None:
    case = Case("soft", TEXTS[1])
    aliases = {
        "blocks.1.hook_resid_pre": "resid_pre.1",
        "blocks.2.hook_resid_post": "resid_post.2",
        "blocks.0.hook_attn_out": "attn_out.0",
        "blocks.1.hook_mlp_out": "mlp_out.1",
        "blocks.1.attn.hook_pattern": "attn_probs.1",
        "hook_embed": "embed",
        "hook_logits": "logits",
    }
    spec = CaptureSpec(sites=tuple(aliases))
    found = serve(llama.engine(), [capture(case, spec)])[f"capture/{case.request_id}"].result.tensors
    states = llama.text_states("soft", case.ids)
    for label in aliases.values():
        assert_near(found[label], states[label], what=label)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_states_are_rounded_once(llama: World, dtype: str) -> None:
    case = Case("none", TEXTS[2])
    full = result(llama, case, CaptureSpec(sites=("resid_post",))).tensors
    half = result(
        llama, case, CaptureSpec(sites=("resid_post",), dtype="bfloat16" if dtype == "bfloat16" else "float16")
    )
    for label in labels(llama, ("resid_post",)):
        assert torch.equal(half.tensors[label], full[label].to(getattr(torch, dtype)))


def result(world: World, case: Case, spec: CaptureSpec) -> Tensors:
    return serve(world.engine(), [capture(case, spec)])[f"capture/{case.request_id}"].result


def test_estimates_are_the_bytes_of_the_response(llama: World) -> None:
    inputs = (TEXTS[2], TEXTS[0])
    for spec in (CaptureSpec(sites=SITES), CaptureSpec(sites=("resid_post",), positions="last", reduce="norm")):
        request = Capture(request_id="x", inputs=inputs, capture=spec, prompt=Case("soft", ()).choice)
        engine = llama.engine()
        estimate = engine.estimate(request)
        found: Mapping[str, Tensor] = serve(engine, [request])["x"].result.tensors
        assert estimate.n_tokens == 10
        n_bytes = sum(t.nbytes for name, t in found.items() if name not in ("row_offsets", "positions", "token_ids"))
        assert n_bytes <= estimate.n_bytes <= 1.1 * n_bytes
