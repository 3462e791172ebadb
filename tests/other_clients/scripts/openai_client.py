"""The official client, in the version that users install today."""

from __future__ import annotations

import asyncio
from typing import Any

import openai

from tests.other_clients.scripts.report import (
    LONG,
    MODEL,
    N_TOKENS,
    OTHER_STORY,
    QUESTION,
    STORY,
    TUNED,
    Server,
    report,
)

SETTINGS: dict[str, Any] = {"model": MODEL, "max_tokens": N_TOKENS, "temperature": 0}
MESSAGES: list[Any] = [{"role": "user", "content": QUESTION}]
STOPS = ["\n\n", ".", "Q:", "</s>", "<|im_end|>", "!"]
# More sequences than one server takes at once, so that a second request of the kind is refused while the first runs.
MANY: dict[str, Any] = {"model": MODEL, "prompt": STORY, "n": 128, "extra_body": {"ignore_eos": True}}


def client_of(server: Server, **options: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=server.url, api_key=server.key, max_retries=0, **options)


def models(server: Server) -> Any:
    client = client_of(server)
    return {"ids": [model.id for model in client.models.list()], "one": client.models.retrieve(MODEL).id}


def completions(server: Server) -> Any:
    found = client_of(server).completions.create(prompt=[STORY, OTHER_STORY], **SETTINGS)
    assert found.usage is not None
    return {"texts": [choice.text for choice in found.choices], "usage": found.usage.model_dump()}


def stopped(server: Server) -> Any:
    found = client_of(server).completions.create(prompt=STORY, stop=STOPS, **SETTINGS)
    return {"text": found.choices[0].text, "reason": found.choices[0].finish_reason}


def streamed(server: Server) -> Any:
    stream = client_of(server).completions.create(
        prompt=STORY, stream=True, stream_options={"include_usage": True}, **SETTINGS
    )
    chunks = list(stream)
    assert chunks[-1].usage is not None
    texts = [choice.text for chunk in chunks for choice in chunk.choices]
    return {"text": "".join(texts), "n_parts": len(texts), "usage": chunks[-1].usage.model_dump()}


def tuned(server: Server) -> Any:
    found = client_of(server).completions.create(prompt=STORY, **{**SETTINGS, "model": TUNED})
    return found.choices[0].text


def chat(server: Server) -> Any:
    client = client_of(server)
    found = client.chat.completions.create(messages=MESSAGES, logprobs=True, top_logprobs=3, **SETTINGS)
    (choice,) = found.choices
    assert choice.logprobs is not None
    assert choice.logprobs.content is not None
    chunks = list(client.chat.completions.create(messages=MESSAGES, stream=True, **SETTINGS))
    parts = [part.delta for chunk in chunks for part in chunk.choices]
    return {
        "text": choice.message.content,
        "reason": choice.finish_reason,
        "n_alternatives": [len(token.top_logprobs) for token in choice.logprobs.content],
        "roles": [part.role for part in parts if part.role],
        "streamed": "".join(part.content or "" for part in parts),
    }


def scored(server: Server) -> Any:
    found = client_of(server).completions.create(
        model=MODEL, prompt=STORY, max_tokens=0, temperature=0, echo=True, logprobs=1
    )
    logprobs = found.choices[0].logprobs
    assert logprobs is not None
    return {"tokens": logprobs.tokens, "logprobs": logprobs.token_logprobs}


def embeddings(server: Server) -> Any:
    client = client_of(server)
    as_base64 = client.embeddings.create(model=MODEL, input=[STORY, QUESTION])
    as_numbers = client.embeddings.create(model=MODEL, input=[STORY, QUESTION], encoding_format="float")
    vectors = [one.embedding for one in as_base64.data]
    return {"vectors": vectors, "as_numbers": [one.embedding for one in as_numbers.data]}


def concurrent(server: Server) -> Any:
    async def texts() -> list[Any]:
        async with openai.AsyncOpenAI(base_url=server.url, api_key=server.key) as client:
            completed = await asyncio.gather(
                *(client.completions.create(prompt=prompt, **SETTINGS) for prompt in [STORY, OTHER_STORY] * 3)
            )
            stream = await client.chat.completions.create(messages=MESSAGES, stream=True, **SETTINGS)
            parts = [chunk.choices[0].delta.content or "" async for chunk in stream]
            return [*(found.choices[0].text for found in completed), "".join(parts)]

    return asyncio.run(texts())


def retried(server: Server) -> Any:
    """A full server refuses; the client waits as long as the server says, and succeeds when there is room."""
    client = client_of(server)
    running: Any = client.completions.create(**MANY, max_tokens=400, stream=True)
    next(iter(running))
    refused: Any = None
    try:
        client.completions.create(**MANY, max_tokens=1)
    except openai.RateLimitError as error:
        refused = {"code": error.code, "retry_after": error.response.headers.get("retry-after")}
    statuses: list[int] = []

    def make_room(response: Any) -> None:
        statuses.append(response.status_code)
        running.close()

    watched = openai.DefaultHttpxClient(event_hooks={"response": [make_room]})
    patient = client.with_options(http_client=watched, max_retries=5)
    found = patient.completions.create(**MANY, max_tokens=1)
    return {"refused": refused, "statuses": statuses, "n_choices": len(found.choices)}


def unknown_model(server: Server) -> Any:
    client_of(server).completions.create(model="nobody", prompt="x")


def too_long(server: Server) -> Any:
    client_of(server).completions.create(prompt=LONG, **SETTINGS)


def too_long_to_embed(server: Server) -> Any:
    client_of(server).embeddings.create(model=MODEL, input=LONG)


def wrong_key(server: Server) -> Any:
    client_of(Server(url=server.url, key="wrong")).models.list()


def with_tools(server: Server) -> Any:
    tool: Any = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
    client_of(server).chat.completions.create(messages=MESSAGES, tools=[tool], **SETTINGS)


def responses(server: Server) -> Any:
    client_of(server).responses.create(model=MODEL, input=QUESTION)


if __name__ == "__main__":
    checks = [models, completions, stopped, streamed, tuned, chat, scored, embeddings, concurrent, retried]
    errors = [unknown_model, too_long, too_long_to_embed, wrong_key, with_tools, responses]
    report({check.__name__: check for check in [*checks, *errors]})
