"""min_tokens, ignore_eos, stop_token_ids, skip_special_tokens and prompt_logprobs, against plain transformers."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from service.engine.engine import Engine
from service.engine.inputs import PromptChoice
from service.engine.model.hosted_model import HostedModel
from service.engine.requests import Delta, RowDone, Sampling
from service.errors import InvalidRequest
from tests.oracle.models import EOS, build_model, build_tokenizer
from tests.service.engine.small_engine import TEXT, finish, generate, tokens_of, with_limits

N = 12
PROMPT = PromptChoice(parts=(("p", 1.0),))


def greedy(plain: Any, *, n_tokens: int, eos: list[int] | None, min_tokens: int = 0) -> list[int]:
    """The tokens that transformers generates after TEXT."""
    ids = torch.tensor([TEXT])
    out = plain.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=n_tokens,
        min_new_tokens=min_tokens or None,
        eos_token_id=eos,
        pad_token_id=0,
    )
    return [int(token) for token in out[0, len(TEXT) :]]


@pytest.fixture(scope="module")
def endless(plain: Any) -> list[int]:
    """What the model generates if nothing ends it; its tokens serve as the ends of the tests."""
    return greedy(plain, n_tokens=N, eos=[96_000])


def end_of(events: Any) -> tuple[str, int]:
    done = next(event for event in events if isinstance(event, RowDone))
    return done.finish_reason, done.n_generated


@pytest.fixture(scope="module")
def eos_model(endless: list[int]) -> HostedModel:
    """The small Llama, with the third token that it generates after TEXT as its end of text; a special token."""
    tokenizer = build_tokenizer()
    tokenizer.add_special_tokens({"eos_token": f"t{endless[2]}"})
    module = build_model("llama")
    module.config.eos_token_id = module.generation_config.eos_token_id = endless[2]
    return HostedModel("m", module, tokenizer, revision="")


@pytest.fixture
def ending(eos_model: HostedModel) -> Engine:
    return with_limits(eos_model)


@pytest.mark.parametrize("stream", [False, True])
def test_ignore_eos_generates_past_the_end_of_text(
    ending: Engine, plain: Any, endless: list[int], stream: bool
) -> None:
    end = endless[2]
    ending.submit(generate("stops", max_tokens=N, stream=stream))
    events = finish(ending)
    assert tokens_of(events, "stops") == greedy(plain, n_tokens=N, eos=[end]) == endless[: endless.index(end) + 1]
    ending.submit(generate("goes on", max_tokens=N, ignore_eos=True, stream=stream))
    events = finish(ending)
    assert tokens_of(events, "goes on") == endless
    assert end_of(events) == ("length", N)


@pytest.mark.parametrize("ignore_eos", [False, True])
@pytest.mark.parametrize("at", [1, 4, 6])
def test_a_stop_token_ends_a_row_and_its_text_is_left_out(
    engine: Engine, plain: Any, endless: list[int], at: int, ignore_eos: bool
) -> None:
    stop = endless[at]
    expected = greedy(plain, n_tokens=N, eos=[stop] if ignore_eos else [EOS, stop])
    assert expected[-1] == stop
    texts = []
    for stream in (False, True):
        engine.submit(generate("s", max_tokens=N, stop_token_ids=(stop,), ignore_eos=ignore_eos, stream=stream))
        events = finish(engine)
        assert tokens_of(events, "s") == expected
        assert end_of(events) == ("stop", len(expected))
        texts.append("".join(event.text for event in events if isinstance(event, Delta)))
    assert texts[0].split() == texts[1].split() == [f"t{token}" for token in expected[:-1]]


@pytest.mark.parametrize("min_tokens", [1, 3, 5, N])
def test_min_tokens_removes_the_ends_until_then(
    ending: Engine, plain: Any, endless: list[int], min_tokens: int
) -> None:
    ends = [endless[2], endless[0]]
    expected = greedy(plain, n_tokens=N, eos=ends, min_tokens=min_tokens)
    assert expected != endless
    ending.submit(generate("a", max_tokens=N, min_tokens=min_tokens, stop_token_ids=(endless[0],)))
    ending.submit(generate("b", max_tokens=N))
    events = finish(ending)
    assert tokens_of(events, "a") == expected
    assert tokens_of(events, "b") == endless[: endless.index(endless[2]) + 1]


def test_the_ends_are_never_drawn_before_min_tokens(engine: Engine, endless: list[int]) -> None:
    """With all but two tokens as ends, a draw has two outcomes until min_tokens; afterwards it ends at once."""
    allowed = {3, 8}
    stop = tuple(sorted(set(range(97)) - allowed - {EOS}))
    engine.submit(
        generate("a", n=20, max_tokens=9, min_tokens=4, stop_token_ids=stop, sampling=Sampling(temperature=2, seed=3))
    )
    rows: dict[int, list[int]] = {}
    for event in finish(engine):
        if isinstance(event, Delta):
            rows.setdefault(event.row, []).extend(event.token_ids)
    assert all(set(tokens[:4]) <= allowed and len(tokens) >= 5 for tokens in rows.values())
    assert {len(tokens) for tokens in rows.values()} != {9}
    assert len({tuple(tokens[:4]) for tokens in rows.values()}) > 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_stop_string_within_min_tokens_does_not_end(engine: Engine, endless: list[int], stream: bool) -> None:
    words = [f"t{token}" for token in endless]
    stop, last = f"{words[1]} {words[2]}", f"{words[5]}"
    for min_tokens in (0, 2, 3):
        engine.submit(generate("a", max_tokens=N, stop=(stop, last), min_tokens=min_tokens, stream=stream))
        events = finish(engine)
        text = "".join(event.text for event in events if isinstance(event, Delta))
        whole = " " + " ".join(words)
        after = 0 if min_tokens < 3 else len(" " + " ".join(words[:3]))
        starts = [whole.find(one, max(0, after - len(one) + 1)) for one in (stop, last)]
        assert text == whole[: min(start for start in starts if start >= 0)]


def test_special_tokens_are_text_on_request(ending: Engine, endless: list[int]) -> None:
    end = endless[2]
    for skip, ignore_eos in ((True, True), (False, True), (False, False)):
        for stream in (False, True):
            ending.submit(generate("a", max_tokens=N, ignore_eos=ignore_eos, skip_special_tokens=skip, stream=stream))
            events = finish(ending)
            tokens = endless if ignore_eos else endless[: endless.index(end)]
            shown = [token for token in tokens if not (skip and token == end)]
            text = "".join(event.text for event in events if isinstance(event, Delta))
            assert text.split() == [f"t{token}" for token in shown]


@pytest.mark.parametrize("size", [2048, 3])
@pytest.mark.parametrize("more", [{}, {"echo": True, "logprobs": 1}, {"max_tokens": 0}])
def test_prompt_logprobs_have_vllms_entries(model: HostedModel, plain: Any, size: int, more: dict[str, Any]) -> None:
    engine = with_limits(model, max_step_tokens=size)
    engine.submit(generate("e", prompt_logprobs=3, **more))
    delta = next(event for event in finish(engine) if isinstance(event, Delta))
    expected = plain(torch.tensor([TEXT])).logits[0].log_softmax(-1)
    assert delta.prompt_logprobs is not None
    assert len(delta.prompt_logprobs) == len(TEXT) - 1
    for i, (own, *others) in enumerate(delta.prompt_logprobs):
        order = expected[i].argsort(descending=True).tolist()
        assert (own.token_id, own.text) == (TEXT[i + 1], f"t{TEXT[i + 1]}")
        assert own.rank == order.index(TEXT[i + 1]) + 1
        assert [(one.token_id, one.rank) for one in others] == [
            (token, rank) for rank, token in enumerate(order[:3], 1) if token != TEXT[i + 1]
        ]
        for one in (own, *others):
            assert one.logprob == pytest.approx(float(expected[i, one.token_id]), abs=1e-4)


def test_prompt_logprobs_are_sent_once_and_only_on_request(engine: Engine) -> None:
    engine.submit(generate("a", prompt_logprobs=0, n=2, prompt=PROMPT, stream=True))
    engine.submit(generate("b", echo=True, logprobs=1))
    deltas = [event for event in finish(engine) if isinstance(event, Delta)]
    sent = [(delta.request_id, delta.row) for delta in deltas if delta.prompt_logprobs is not None]
    assert sorted(sent) == [("a", 0), ("a", 1)]
    assert all(len(token) == 1 for delta in deltas for token in delta.prompt_logprobs or ())


@pytest.mark.parametrize(
    ("fields", "loc"),
    [
        ({"min_tokens": 6}, ("min_tokens",)),
        ({"stop_token_ids": (4, 97)}, ("stop_token_ids", 1)),
        ({"min_tokens": 1, "stop_token_ids": tuple(range(97))}, ("stop_token_ids",)),
    ],
)
def test_ends_that_cannot_work_are_refused(engine: Engine, fields: dict[str, Any], loc: tuple[str | int, ...]) -> None:
    with pytest.raises(InvalidRequest) as error:
        engine.submit(generate("a", **fields))
    assert error.value.loc == loc
