"""The engine: refusals, cancellation, limits, failures, echo and streaming."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from service.engine.engine import Engine
from service.engine.inputs import PromptChoice
from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt
from service.engine.requests import (
    Capture,
    CaptureSpec,
    Delta,
    Failed,
    Generate,
    Intervention,
    Limits,
    Projection,
    RowDone,
)
from service.errors import Busy, ContextLengthExceeded, EngineFault, InvalidRequest, NotFound, TooLarge, Unavailable
from tests.service.engine.small_engine import (
    TEXT,
    capture,
    finish,
    generate,
    load,
    result_of,
    tokens_of,
    with_limits,
)


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
        (generate(max_tokens=122), ContextLengthExceeded, "0 virtual \\+ 7 input \\+ 122 new tokens"),
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


@pytest.mark.parametrize(
    ("second", "where"),
    [
        ({"site": "nowhere"}, ("site",)),
        ({"site": "resid_post", "layers": (0, 99)}, ("layers", 1)),
        ({"site": "resid_post", "positions": (0, 7)}, ("positions", 1)),
        ({"site": "attn_probs"}, ("site",)),
    ],
)
def test_errors_of_interventions_are_located_in_the_request(
    engine: Engine, second: dict[str, Any], where: tuple[str | int, ...]
) -> None:
    edits = (Intervention(site="resid_post", op="scale"), Intervention(op="scale", **second))
    with pytest.raises(InvalidRequest) as refused:
        engine.submit(capture(interventions=edits))
    assert refused.value.loc == ("interventions", 1, *where)


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


def test_streamed_text_and_tokens_equal_unstreamed_ones(engine: Engine) -> None:
    engine.submit(generate("once", max_tokens=9))
    once = finish(engine)
    engine.submit(generate("stream", max_tokens=9, stream=True))
    stream = finish(engine)
    assert tokens_of(stream, "stream") == tokens_of(once, "once")
    assert "".join(e.text for e in stream if isinstance(e, Delta)) == next(e.text for e in once if isinstance(e, Delta))
    assert sum(isinstance(e, Delta) for e in stream) > 1
    assert sum(isinstance(e, Delta) for e in once) == 1


def test_a_prompt_that_is_given_with_its_request_is_not_loaded(model: HostedModel) -> None:
    def refuse(sha256: str) -> Prompt:
        raise AssertionError(f"loaded {sha256}")

    engine = Engine(model, limits=Limits(), load_prompt=refuse)
    choice = PromptChoice(parts=(("a", 0.5), ("b", 0.5), ("a", 0.25)))
    assert engine.missing(None) == ()
    assert engine.missing(choice) == ("a", "b")
    engine.submit(generate(prompt=choice), contents={name: load(name) for name in "ab"})
    assert engine.missing(choice) == ()
    engine.submit(generate("again", prompt=choice))
    engine.estimate(capture(prompt=choice))
    expected = with_limits(model)
    expected.submit(generate(prompt=choice))
    assert tokens_of(finish(engine), "g") == tokens_of(finish(expected), "g")
