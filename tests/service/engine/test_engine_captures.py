"""Captures and trajectories of the engine: chunks, reductions, edits, and forwards that stop early or run in part."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from service.engine.engine import Engine
from service.engine.inputs import PromptChoice
from service.engine.model.hosted_model import HostedModel
from service.engine.requests import CaptureSpec, Intervention, Projection, Sampling, Slice
from service.errors import InvalidRequest
from tests.service.engine.small_engine import (
    TEXT,
    capture,
    finish,
    generate,
    result_of,
    with_limits,
)


def test_the_forward_of_a_capture_stops_after_the_last_site(engine: Engine, model: HostedModel) -> None:
    ran: list[int] = []
    handles = [
        block.register_forward_pre_hook(lambda *_, layer=layer: ran.append(layer))
        for layer, block in enumerate(model.architecture.blocks)
    ]
    for site, layers, expected in (
        ("embed", (), []),
        ("resid_pre", (1,), [0, 1]),
        ("resid_post", (0,), [0]),
        ("attn_probs", (1,), [0, 1]),
        ("final_norm", (), [0, 1, 2]),
        ("model.layers.0.mlp", (), [0]),
    ):
        ran.clear()
        engine.submit(capture(sites=(site,), layers=layers))
        finish(engine)
        assert ran == expected, site
    for handle in handles:
        handle.remove()


def test_captures_longer_than_a_step_run_in_chunks_with_equal_states(model: HostedModel) -> None:
    sites = ("embed", "resid_post", "attn_probs", "logits", "model.layers.1.mlp.gate_proj")
    texts = (TEXT, (5, 4), TEXT * 5)
    prompt = PromptChoice(parts=(("p", 1.0),))
    results = []
    for size in (2048, 8):
        engine = with_limits(model, max_step_tokens=size)
        engine.submit(capture(inputs=texts, sites=sites, layers=(0, 2), prompt=prompt, include_virtual=True))
        results.append(result_of(finish(engine)).tensors)
    assert results[0].keys() == results[1].keys()
    for name, tensor in results[0].items():
        torch.testing.assert_close(tensor, results[1][name], atol=1e-4, rtol=0, equal_nan=True)
    assert results[0]["row_offsets"].tolist() == [0, 10, 15, 53]


def test_positions_and_reductions_are_those_of_the_whole(engine: Engine) -> None:
    texts = (TEXT, (5, 4, 3), TEXT * 2)
    engine.submit(capture("all", inputs=texts))
    whole = result_of(finish(engine), "all").tensors
    parts = [
        whole["resid_post.1"][a:b] for a, b in zip(whole["row_offsets"][:-1], whole["row_offsets"][1:], strict=True)
    ]
    mean, components = torch.randn(56), torch.randn(2, 56)
    for name, more, expected in (
        ("last", {"positions": "last"}, [p[-1:] for p in parts]),
        ("list", {"positions": (-1, 0, 2, 0)}, [p[[-1, 0, 2, 0]] for p in parts]),
        ("slice", {"positions": Slice(start=1, stop=-1)}, [p[1:-1] for p in parts]),
        ("mean", {"reduce": "mean"}, [p.mean(0, keepdim=True) for p in parts]),
        ("norm", {"reduce": "norm"}, [p.norm(dim=-1) for p in parts]),
        ("half", {"dtype": "bfloat16"}, [p.bfloat16() for p in parts]),
        (
            "project",
            {"reduce": Projection(mean=mean, components=components)},
            [(p - mean) @ components.T for p in parts],
        ),
    ):
        engine.submit(capture(name, inputs=texts, **more))
        got = result_of(finish(engine), name).tensors
        torch.testing.assert_close(got["resid_post.1"], torch.cat(expected), atol=1e-4, rtol=1e-5)
        assert got["row_offsets"].tolist() == [0, *torch.tensor([len(p) for p in expected]).cumsum(0).tolist()]
        assert ("positions" in got) == (name != "mean")
    engine.submit(capture("list", inputs=texts, positions=(-1, 0)))
    got = result_of(finish(engine), "list").tensors
    assert got["positions"].tolist() == [6, 0, 2, 0, 13, 0]
    assert got["token_ids"].tolist() == [5, 9, 3, 5, 5, 9]
    assert (got["positions"].dtype, got["token_ids"].dtype) == (torch.int32, torch.int64)


def test_an_estimate_runs_no_capture(engine: Engine) -> None:
    request = capture(inputs=(TEXT, (4, 5)), layers="all", dtype="float16")
    estimate = engine.estimate(request)
    assert (estimate.n_tokens, estimate.n_bytes) == (9, 9 * 3 * 56 * 2)
    assert estimate.seconds > 0
    assert not engine.has_work


def test_trajectories_have_a_row_and_a_logprob_for_each_token(engine: Engine, plain: Any) -> None:
    spec = CaptureSpec(sites=("resid_post",), layers=(0, 2))
    engine.submit(generate("t", inputs=(TEXT, (4, 6)), n=2, capture=spec))
    result = result_of(finish(engine), "t")
    inputs = result.metadata["inputs"]
    assert isinstance(inputs, list)
    assert [one["n_input"] for one in inputs] == [7, 7, 2, 2]
    offsets = result.tensors["row_offsets"].tolist()
    ids = result.tensors["token_ids"]
    states = plain(ids[None, : offsets[1]], output_hidden_states=True).hidden_states
    torch.testing.assert_close(result.tensors["resid_post.0"][: offsets[1]], states[1][0], atol=1e-4, rtol=0)
    logprobs = plain(ids[None, : offsets[1]]).logits[0].log_softmax(-1)
    generated = result.tensors["generated"]
    assert generated[: offsets[1]].tolist() == [False] * 7 + [True] * (offsets[1] - 7)
    assert result.tensors["logprobs"][:7].isnan().all()
    for row in range(7, offsets[1]):
        assert float(result.tensors["logprobs"][row]) == pytest.approx(float(logprobs[row - 1, ids[row]]), abs=1e-4)
    engine.submit(generate("u", inputs=(TEXT, (4, 6)), n=2, capture=spec, include_input=False))
    shorter = result_of(finish(engine), "u").tensors
    assert shorter["generated"].all()
    torch.testing.assert_close(shorter["resid_post.2"], result.tensors["resid_post.2"][generated], atol=1e-4, rtol=0)


def test_no_positions_give_no_rows_and_no_mean(engine: Engine) -> None:
    nothing = Slice(start=3, stop=3)
    engine.submit(capture(positions=nothing, sites=("resid_post", "attn_probs", "model.layers.0.mlp.up_proj")))
    tensors = result_of(finish(engine)).tensors
    assert tensors["resid_post.1"].shape == (0, 56)
    assert tensors["attn_probs.1"].shape == (0, 4, 7)
    assert tensors["model.layers.0.mlp.up_proj"].shape == (0, 74)
    assert tensors["row_offsets"].tolist() == [0, 0]
    with pytest.raises(InvalidRequest, match="expected at least one for reduce mean"):
        engine.submit(capture(positions=nothing, reduce="mean"))


def test_a_trajectory_that_ends_at_once_has_no_generated_rows(engine: Engine) -> None:
    always_end = Sampling(temperature=0, logit_bias={1: 100.0})
    engine.submit(generate("t", sampling=always_end, include_input=False, capture=CaptureSpec(sites=("embed",))))
    result = result_of(finish(engine), "t")
    assert result.tensors["embed"].shape == (0, 56)
    assert result.tensors["generated"].shape == result.tensors["logprobs"].shape == (0,)
    assert result.metadata["inputs"] == [{"text": "", "finish_reason": "stop", "n_input": 7, "n_generated": 1}]


def test_the_last_mlp_runs_only_on_the_tokens_read_with_equal_states(engine: Engine, model: HostedModel) -> None:
    texts = (TEXT, (5, 4, 3), TEXT * 2)
    rows: list[int] = []
    handle = model.module.get_submodule("model.layers.1.mlp.gate_proj").register_forward_hook(
        lambda _, args, __: rows.append(args[0].shape[1])
    )
    engine.submit(capture("all", inputs=texts, layers=(0, 1)))
    whole = result_of(finish(engine), "all").tensors
    ends = whole["row_offsets"][1:] - 1
    for sites, n_tokens in ((("resid_post",), 3), (("resid_post", "mlp_out"), 24), (("resid_post", "logits"), 24)):
        rows.clear()
        engine.submit(capture(str(sites), inputs=texts, sites=sites, layers=(0, 1), positions="last"))
        last = result_of(finish(engine), str(sites)).tensors
        assert rows == [n_tokens]
        for name in ("resid_post.0", "resid_post.1"):
            torch.testing.assert_close(last[name], whole[name][ends], atol=1e-5, rtol=0)
    handle.remove()


def test_edits_get_one_row_per_token(engine: Engine) -> None:
    push = Intervention(site="mlp_out", layers=(1,), positions=(0,), value=torch.full((56,), 3.0))
    for name, more in (("all", {}), ("last", {"positions": "last"})):
        engine.submit(capture(name, layers=(1, 2), interventions=(push,), **more))
    events = finish(engine)
    whole, last = (result_of(events, name).tensors["resid_post.2"] for name in ("all", "last"))
    torch.testing.assert_close(last, whole[-1:], atol=1e-5, rtol=0)


def test_reading_an_input_runs_the_last_mlp_only_where_logits_are_needed(engine: Engine, model: HostedModel) -> None:
    rows: list[int] = []
    handle = model.module.get_submodule("model.layers.2.mlp.gate_proj").register_forward_hook(
        lambda _, args, __: rows.append(args[0].shape[1])
    )
    spec = CaptureSpec(sites=("resid_post",), layers=(2,))
    for name, more, n_tokens in (("g", {}, 1), ("e", {"echo": True, "logprobs": 0}, 7), ("t", {"capture": spec}, 7)):
        rows.clear()
        engine.submit(generate(name, max_tokens=3, **more))
        finish(engine)
        assert rows[0] == n_tokens, name
    handle.remove()


def test_set_writes_the_value_times_its_strength(engine: Engine) -> None:
    value = torch.arange(56.0)
    put = Intervention(site="resid_post", layers=(1,), positions=(2,), op="set", value=value, strength=0.5)
    engine.submit(capture("a"))
    engine.submit(capture("b", interventions=(put,)))
    events = finish(engine)
    before, after = (result_of(events, name).tensors["resid_post.1"] for name in "ab")
    torch.testing.assert_close(after[2], 0.5 * value)
    torch.testing.assert_close(after[:2], before[:2])
