from __future__ import annotations

from service.engine.requests import Generate
from tests.service.api.conftest import World
from tests.service.api.openai.test_completions import events

URL = "/v1/chat/completions"
TALK = [{"role": "system", "content": "be"}, {"role": "user", "content": [{"type": "text", "text": "hi"}]}]


def test_an_answer_has_openais_shape(world: World) -> None:
    body = world.client.post(
        URL, json={"model": "demo", "messages": TALK, "max_tokens": 3, "logprobs": True, "top_logprobs": 1}
    ).json()
    assert body["object"] == "chat.completion"
    (choice,) = body["choices"]
    assert choice["message"] == {"role": "assistant", "content": "hi!0"}
    (token,) = choice["logprobs"]["content"]
    assert (token["token"], token["logprob"], token["bytes"]) == ("hi!0", -0.5, [104, 105, 33, 48])
    assert token["top_logprobs"][0]["token"] == "z"
    request = world.end.submitted[0].request
    assert isinstance(request, Generate)
    assert request.messages == ({"role": "system", "content": "be"}, {"role": "user", "content": "hi"})
    assert (request.max_tokens, request.logprobs) == (3, 1)


def test_without_a_limit_it_may_fill_the_context(world: World) -> None:
    world.client.post(URL, json={"model": "demo", "messages": TALK})
    assert world.end.submitted[0].n_context == 64
    world.client.post(URL, json={"model": "demo", "messages": TALK, "max_completion_tokens": 2})
    assert world.end.submitted[1].n_context is None


def test_a_stream_says_first_whose_words_follow(world: World) -> None:
    answer = world.client.post(URL, json={"model": "demo", "messages": TALK, "stream": True, "n": 2})
    *chunks, done = events(answer.text)
    assert done == "[DONE]"
    assert [chunk["choices"][0]["delta"].get("role") for chunk in chunks[:3]] == ["assistant", "assistant", None]
    assert [chunk["choices"][0]["delta"]["content"] for chunk in chunks[2::2]] == ["hi!0", "hi!1"]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[3::2]] == ["length", "length"]


def test_a_model_without_a_template_is_refused(world: World) -> None:
    answer = world.client.post(URL, json={"model": "other", "messages": TALK})
    assert answer.status_code == 422
    assert "/v1/completions" in answer.json()["error"]["message"]
