"""The official client, unchanged."""

from __future__ import annotations

import base64
import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
import torch
from promptatlas import Client
from safetensors.numpy import load, save
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.integration.conftest import KEY, READ_KEY
from tests.integration.running import Service
from tests.integration.tiny_model import D_MODEL


def upload_soft(http: httpx.Client, name: str, *, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(3, D_MODEL)).astype(np.float32)
    data = save({"soft": values}, metadata={"promptatlas": json.dumps({"kind": "soft", "base": "tiny"})})
    answer = http.post(
        "/v1/prompts", params={"name": name}, content=data, headers={"Content-Type": "application/vnd.safetensors"}
    )
    assert answer.status_code in (200, 201), answer.text


def test_completions(ai: openai.OpenAI) -> None:
    answer = ai.completions.create(model="tiny", prompt=["one", "two"], max_tokens=5, n=2, seed=7)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert {choice.finish_reason for choice in answer.choices} == {"length"}
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (6, 20)


def test_a_stream_says_the_same_as_the_whole(ai: openai.OpenAI) -> None:
    whole = ai.completions.create(model="tiny", prompt="hello", max_tokens=12, temperature=0)
    parts = list(
        ai.completions.create(
            model="tiny",
            prompt="hello",
            max_tokens=12,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert "".join(part.choices[0].text for part in parts if part.choices) == whole.choices[0].text
    assert parts[-1].usage is not None
    assert parts[-1].usage.completion_tokens == 12
    assert parts[-2].choices[0].finish_reason == "length"


def test_logprobs_and_echo(ai: openai.OpenAI) -> None:
    answer = ai.completions.create(model="tiny", prompt="abc", max_tokens=2, temperature=0, logprobs=3, echo=True)
    (choice,) = answer.choices
    assert choice.text.startswith("abc")
    assert choice.logprobs is not None
    assert choice.logprobs.tokens is not None
    assert choice.logprobs.token_logprobs is not None
    assert choice.logprobs.top_logprobs is not None
    assert choice.logprobs.tokens[:3] == ["a", "b", "c"]
    assert choice.logprobs.token_logprobs[0] is None
    assert all(logprob < 0 for logprob in choice.logprobs.token_logprobs[1:])
    assert [len(top) >= 1 for top in choice.logprobs.top_logprobs[1:]] == [True] * 4


def test_prompt_embeds_as_clients_of_vllm_send_them(ai: openai.OpenAI, http: httpx.Client, model_path: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(model_path)
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    embed = model.get_input_embeddings()
    embeds = embed(tokenizer("hello there", return_tensors="pt").input_ids).detach()
    generated = model.generate(
        inputs_embeds=embeds, attention_mask=torch.ones(embeds.shape[:2]), max_new_tokens=8, do_sample=False
    )
    expected = tokenizer.decode(generated[0], skip_special_tokens=True)
    buffer = io.BytesIO()
    torch.save(embeds, buffer)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    answer = ai.completions.create(
        model="tiny", prompt="", max_tokens=8, temperature=0, logprobs=1, extra_body={"prompt_embeds": encoded}
    )
    assert [choice.text for choice in answer.choices] == [expected]
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == embeds.shape[1]
    both = ai.completions.create(
        model="tiny", prompt="hello there", max_tokens=8, temperature=0, extra_body={"prompt_embeds": [encoded]}
    )
    assert [choice.text for choice in both.choices] == [expected, expected]
    upload_soft(http, "embedded", seed=11)
    stored = load(http.get("/v1/prompts/embedded/versions/1/content").content)["soft"]
    front = torch.cat([torch.from_numpy(stored)[None], embeds], dim=1)
    with Client(base_url=str(http.base_url), api_key=KEY) as client:
        given = client.completions.create(model="tiny", prompt_embeds=front, max_tokens=8, temperature=0)
    named = ai.completions.create(model="tiny:embedded", prompt="hello there", max_tokens=8, temperature=0)
    assert given.choices[0].text == named.choices[0].text


def test_chat(ai: openai.OpenAI) -> None:
    turns: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "hi"}]
    answer = ai.chat.completions.create(
        model="tiny", messages=turns, max_tokens=4, temperature=0, logprobs=True, top_logprobs=2
    )
    (choice,) = answer.choices
    assert choice.message.role == "assistant"
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    assert [len(token.top_logprobs) for token in choice.logprobs.content] == [2, 2, 2, 2]
    chunks = list(ai.chat.completions.create(model="tiny", messages=turns, max_tokens=4, temperature=0, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == choice.message.content


def test_a_chat_without_a_limit_goes_on_to_the_end_of_the_context_or_a_stop(ai: openai.OpenAI) -> None:
    turns: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "hi"}]
    first = ai.chat.completions.create(model="tiny", messages=turns, max_tokens=40, temperature=0).choices[0]
    stop = (first.message.content or "")[20:23]
    answer = ai.chat.completions.create(model="tiny", messages=turns, temperature=0, stop=stop).choices[0]
    assert answer.finish_reason == "stop"


def test_models_and_prompts_by_name(ai: openai.OpenAI, http: httpx.Client) -> None:
    upload_soft(http, "named", seed=1)
    assert {"tiny", "tiny:named"} <= {model.id for model in ai.models.list()}
    assert ai.models.retrieve("tiny:named@1").id == "tiny:named@1"
    bare = ai.completions.create(model="tiny", prompt="hello", max_tokens=8, temperature=0)
    tuned = ai.completions.create(model="tiny:named", prompt="hello", max_tokens=8, temperature=0)
    asked = ai.completions.create(
        model="tiny", prompt="hello", max_tokens=8, temperature=0, extra_body={"prompt_ref": "named@1"}
    )
    assert tuned.choices[0].text == asked.choices[0].text != bare.choices[0].text
    assert tuned.model == "tiny:named"


def test_a_seed_gives_the_same_alone_and_beside_others(ai: openai.OpenAI, http: httpx.Client) -> None:
    upload_soft(http, "seeded", seed=2)
    jobs = [("tiny", 1), ("tiny:seeded", 2), ("tiny", 3), ("tiny:seeded", 4)]

    def run(job: tuple[str, int]) -> str:
        return ai.completions.create(model=job[0], prompt="hello", max_tokens=20, seed=job[1]).choices[0].text

    alone = [run(job) for job in jobs]
    with ThreadPoolExecutor(len(jobs)) as pool:
        together = list(pool.map(run, jobs))
    assert together == alone
    assert len(set(alone)) == len(jobs)


def test_errors_are_the_clients_own(ai: openai.OpenAI, service: Service) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        ai.completions.create(model="nope", prompt="x")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.UnprocessableEntityError) as invalid:
        ai.completions.create(model="tiny", prompt="x", max_tokens=10**6)
    assert invalid.value.code == "context_length_exceeded"
    # LiteLLM and LangChain recognise the error by these words, inspect-ai by the code.
    assert "This model's maximum context length is" in invalid.value.message
    assert "exceeds the context window" in invalid.value.message
    with pytest.raises(openai.NotFoundError):
        list(ai.completions.create(model="tiny:nope", prompt="x", stream=True))
    with pytest.raises(openai.NotFoundError, match="No model 'nope' is hosted here") as missing:
        ai.models.retrieve("nope")
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.AuthenticationError, match="The API key is unknown"):
        ai.with_options(api_key="wrong").models.list()
    looking = httpx.delete(f"{service.url}/v1/prompts/x/versions/1", headers={"X-API-Key": READ_KEY})
    assert looking.status_code == 403


@pytest.fixture(scope="module")
def plain(model_path: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32)


def last_states(plain: Any, text: str) -> torch.Tensor:
    """States after the final norm; a token of the tiny model is a byte."""
    tokenizer = AutoTokenizer.from_pretrained(plain.config.name_or_path)
    with torch.no_grad():
        states: torch.Tensor = plain.model(torch.tensor([tokenizer(text)["input_ids"]])).last_hidden_state[0]
    return states


@pytest.mark.parametrize("more", [{}, {"encoding_format": "float"}])
def test_embeddings(ai: openai.OpenAI, plain: Any, more: Any) -> None:
    texts = ["hello", "a longer text", "é"]
    answer = ai.embeddings.create(model="tiny", input=texts, **more)
    assert [one.index for one in answer.data] == [0, 1, 2]
    assert answer.usage.prompt_tokens == sum(len(text.encode()) for text in texts)
    for one, text in zip(answer.data, texts, strict=True):
        np.testing.assert_allclose(one.embedding, last_states(plain, text).mean(0).numpy(), atol=1e-4)
    last = ai.embeddings.create(model="tiny", input=texts[0], extra_body={"pool": "last"})
    np.testing.assert_allclose(last.data[0].embedding, last_states(plain, texts[0])[-1].numpy(), atol=1e-4)


def test_embeddings_of_a_layer_and_what_is_refused(ai: openai.OpenAI, plain: Any) -> None:
    layer = {"site": "resid_post", "layer": 1, "pool": "last"}
    answer = ai.embeddings.create(model="tiny", input=[104, 105], extra_body=layer)
    with torch.no_grad():
        expected = plain(torch.tensor([[104, 105]]), output_hidden_states=True).hidden_states[2][0, -1]
    np.testing.assert_allclose(answer.data[0].embedding, expected.numpy(), atol=1e-4)
    with pytest.raises(openai.UnprocessableEntityError) as error:
        ai.embeddings.create(model="tiny", input="x", dimensions=8)
    assert error.value.param == "dimensions"


def test_a_text_is_scored_without_generating(ai: openai.OpenAI, plain: Any) -> None:
    answer = ai.completions.create(
        model="tiny", prompt="hello", max_tokens=0, echo=True, logprobs=1, extra_body={"prompt_logprobs": 1}
    )
    (choice,) = answer.choices
    assert (choice.text, choice.finish_reason) == ("hello", "length")
    ids = AutoTokenizer.from_pretrained(plain.config.name_or_path)("hello")["input_ids"]
    with torch.no_grad():
        logprobs = plain(torch.tensor([ids])).logits[0].log_softmax(-1)
    expected = [float(logprobs[i, token]) for i, token in enumerate(ids[1:])]
    assert choice.logprobs is not None
    assert choice.logprobs.token_logprobs is not None
    assert choice.logprobs.token_logprobs[0] is None
    assert choice.logprobs.token_logprobs[1:] == pytest.approx(expected, abs=1e-4)
    first, *scored = (choice.model_extra or {})["prompt_logprobs"]
    assert first is None
    found = [entry[str(token)]["logprob"] for entry, token in zip(scored, ids[1:], strict=True)]
    assert found == pytest.approx(expected, abs=1e-4)
