"""The engine: cancellation, limits, failures, echo, long captures, and forwards that stop early."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch

from service.engine.engine import Engine
from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt, from_tensors
from service.engine.requests import (
    Capture,
    CaptureSpec,
    Delta,
    Done,
    Event,
    Failed,
    Generate,
    Intervention,
    Limits,
    Projection,
    PromptChoice,
    RowDone,
    Sampling,
    Slice,
    Tensors,
)
from service.errors import Busy, EngineFault, InvalidRequest, NotFound, TooLarge, Unavailable
from tests.oracle.models import build_model, build_tokenizer

GREEDY = Sampling(temperature=0)
TEXT = (9, 33, 60, 2, 77, 41, 5)


@pytest.fixture(scope="module")
def plain() -> Any:
    return build_model("llama")


@pytest.fixture(scope="module")
def model() -> HostedModel:
    return HostedModel("m", build_model("llama"), build_tokenizer(), revision="")


def load(sha256: str) -> Prompt:
    if sha256 == "missing":
        raise NotFound("no such prompt")
    seed = sum(map(ord, sha256))
    return from_tensors({"soft": torch.randn(3, 56, generator=torch.Generator().manual_seed(seed))})


@pytest.fixture
def engine(model: HostedModel) -> Engine:
    return Engine(model, limits=Limits(), load_prompt=load)


def with_limits(model: HostedModel, **limits: Any) -> Engine:
    return Engine(model, limits=Limits(**limits), load_prompt=load)


def generate(request_id: str = "g", **more: Any) -> Generate:
    return Generate(**{"request_id": request_id, "inputs": (TEXT,), "max_tokens": 5, "sampling": GREEDY, **more})


def capture(request_id: str = "c", **more: Any) -> Capture:
    spec = {key: more.pop(key) for key in list(more) if key in CaptureSpec.__dataclass_fields__}
    return Capture(
        **{
            "request_id": request_id,
            "inputs": (TEXT,),
            "capture": CaptureSpec(**{"sites": ("resid_post",), "layers": (1,), **spec}),
            **more,
        }
    )


def finish(engine: Engine) -> list[Event]:
    events: list[Event] = []
    while engine.has_work:
        events += engine.step()
    return events


def result_of(events: Iterable[Event], request_id: str = "c") -> Tensors:
    done = next(e for e in events if isinstance(e, Done) and e.request_id == request_id)
    assert done.result is not None
    return done.result


def tokens_of(events: Iterable[Event], request_id: str) -> list[int]:
    return [t for e in events if isinstance(e, Delta) and e.request_id == request_id for t in e.token_ids]


def test_a_cancelled_request_frees_its_rows_and_the_others_continue(engine: Engine) -> None:
    engine.submit(generate("alone"))
    alone = tokens_of(finish(engine), "alone")
    for name in ("a", "b", "c"):
        engine.submit(generate(name, max_tokens=50 if name == "b" else 5))
    engine.submit(capture("d"))
    engine.step()
    engine.cancel("b")
    engine.cancel("unknown")
    events = finish(engine)
    assert {e.request_id for e in events if isinstance(e, Delta)} == {"a", "c"}
    assert tokens_of(events, "a") == tokens_of(events, "c") == alone
    assert engine.stats()["n_running"] == 0


def test_a_waiting_request_can_be_cancelled_before_its_first_step(model: HostedModel) -> None:
    engine = with_limits(model, max_rows=1)
    engine.submit(generate("a"))
    engine.submit(generate("b"))
    engine.submit(capture("c"))
    engine.cancel("b")
    engine.cancel("c")
    assert {e.request_id for e in finish(engine)} == {"a"}


def test_a_full_queue_refuses_requests_until_it_is_empty(model: HostedModel) -> None:
    engine = with_limits(model, max_rows=1, max_waiting=2)
    for name in ("a", "b"):
        engine.submit(generate(name))
    with pytest.raises(Busy, match="2 sequences") as error:
        engine.submit(generate("c"))
    assert error.value.retry_after_s
    finish(engine)
    engine.submit(generate("c"))
    assert tokens_of(finish(engine), "c")


@pytest.mark.parametrize(
    ("request_", "error", "says"),
    [
        (generate(max_tokens=122), InvalidRequest, "exceed the model's context of 128"),
        (generate(max_tokens=119, prompt=PromptChoice(parts=(("p", 1.0),))), InvalidRequest, "3 virtual"),
        (generate(inputs=((),)), InvalidRequest, "no tokens"),
        (generate(inputs=((4, 97),)), InvalidRequest, "0 to 96"),
        (generate(inputs=((4, -1),)), InvalidRequest, "0 to 96"),
        (generate(inputs=()), InvalidRequest, "at least one input"),
        (generate(prompt=PromptChoice(parts=(("missing", 1.0),))), NotFound, "no such prompt"),
        (generate(messages=({"role": "user", "content": "hi"},), inputs=()), InvalidRequest, "no chat template"),
        (generate(capture=CaptureSpec(sites=("embed",), reduce="mean")), InvalidRequest, "one row per token"),
        (capture(positions=(7,)), InvalidRequest, "-7 to 6"),
        (capture(sites=("nowhere",)), InvalidRequest, "not known"),
        (capture(interventions=(Intervention(site="attn_probs", op="scale"),)), InvalidRequest, "not changed"),
        (capture(interventions=(Intervention(site="embed"),)), InvalidRequest, "expects a value of 56 numbers"),
        (capture(interventions=(Intervention(site="embed", value=torch.ones(55)),)), InvalidRequest, r"\[56\].*\[55\]"),
        (
            capture(interventions=(Intervention(site="embed", value=torch.full((56,), torch.nan)),)),
            InvalidRequest,
            "finite",
        ),
        (
            capture(interventions=(Intervention(site="embed", op="scale", value=torch.ones(56)),)),
            InvalidRequest,
            "strength",
        ),
        (
            capture(reduce=Projection(mean=torch.zeros(9), components=torch.zeros(2, 9))),
            InvalidRequest,
            "expected 9 values per row, the width of the projection, got 56",
        ),
    ],
)
def test_invalid_requests_are_refused_at_submission(
    engine: Engine, request_: Generate | Capture, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        engine.submit(request_)
    assert not engine.has_work
    engine.submit(generate("after"))
    assert tokens_of(finish(engine), "after")


def test_answers_and_rows_over_a_limit_are_refused_with_the_size(model: HostedModel) -> None:
    engine = with_limits(model, max_capture_bytes=7 * 56 * 4, cache_bytes=64 * model.kv_shape.bytes_per_token)
    engine.submit(capture())
    for too_large in (capture("d", layers=(0, 1)), generate("e", capture=CaptureSpec(sites=("embed",)))):
        with pytest.raises(TooLarge, match=r"1,568|reduce"):
            engine.submit(too_large)
    engine.submit(capture("f", layers=(0, 1), reduce="mean"))
    with pytest.raises(TooLarge, match="cache"):
        engine.submit(generate("g", max_tokens=60))


def test_a_forward_that_fails_ends_only_its_own_requests(engine: Engine, model: HostedModel) -> None:
    def explode(*_: object) -> None:
        raise RuntimeError("boom")

    engine.submit(generate("a"))
    handle = model.architecture.mlps[1].register_forward_hook(explode)
    failed = engine.step()
    handle.remove()
    assert [type(e) for e in failed] == [Failed]
    assert isinstance(failed[0], Failed)
    assert isinstance(failed[0].error, EngineFault)
    assert "boom" not in failed[0].error.detail
    engine.submit(generate("b"))
    assert tokens_of(finish(engine), "b")


def test_out_of_device_memory_is_unavailable_and_temporary(engine: Engine, model: HostedModel) -> None:
    def exhaust(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    engine.submit(capture("a"))
    handle = model.architecture.mlps[0].register_forward_hook(exhaust)
    failed = engine.step()
    handle.remove()
    assert isinstance(failed[0], Failed)
    assert isinstance(failed[0].error, Unavailable)
    engine.submit(capture("b"))
    assert result_of(finish(engine), "b").tensors["resid_post.1"].shape == (7, 56)


def test_a_request_id_in_use_is_refused(engine: Engine) -> None:
    engine.submit(generate("a"))
    with pytest.raises(InvalidRequest, match="already running"):
        engine.submit(generate("a"))


def test_echo_scores_the_input_as_plain_transformers_does(engine: Engine, plain: Any) -> None:
    engine.submit(generate("e", echo=True, logprobs=2, max_tokens=0))
    events = finish(engine)
    delta = next(e for e in events if isinstance(e, Delta))
    expected = plain(torch.tensor([TEXT])).logits[0].log_softmax(-1)
    assert delta.token_ids == TEXT
    assert delta.logprobs[0].logprob is None
    for i, scored in enumerate(delta.logprobs[1:]):
        assert scored.logprob == pytest.approx(float(expected[i, TEXT[i + 1]]), abs=1e-4)
        best = expected[i].topk(2)
        assert [t for t, _, _ in scored.top] == best.indices.tolist()
        assert [value for *_, value in scored.top] == pytest.approx(best.values.tolist(), abs=1e-4)
    done = next(e for e in events if isinstance(e, RowDone))
    assert (done.finish_reason, done.n_input, done.n_generated) == ("length", 7, 0)


def test_echo_in_chunks_equals_echo_in_one_step(model: HostedModel) -> None:
    answers = []
    for size in (2048, 3):
        engine = with_limits(model, max_step_tokens=size)
        engine.submit(generate("e", echo=True, logprobs=1))
        answers.append(next(e for e in finish(engine) if isinstance(e, Delta)))
    assert answers[0].text == answers[1].text == "t9 t33 t60 t2 t77 t41 t5" + answers[0].text[24:]
    assert answers[0].token_ids == answers[1].token_ids
    for one, other in zip(answers[0].logprobs, answers[1].logprobs, strict=True):
        assert one.token_id == other.token_id
        assert one.logprob == pytest.approx(other.logprob, abs=1e-4)


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


def test_streamed_text_and_tokens_equal_unstreamed_ones(engine: Engine) -> None:
    engine.submit(generate("once", max_tokens=9))
    once = finish(engine)
    engine.submit(generate("stream", max_tokens=9, stream=True))
    stream = finish(engine)
    assert tokens_of(stream, "stream") == tokens_of(once, "once")
    assert "".join(e.text for e in stream if isinstance(e, Delta)) == next(e.text for e in once if isinstance(e, Delta))
    assert sum(isinstance(e, Delta) for e in stream) > 1
    assert sum(isinstance(e, Delta) for e in once) == 1


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
