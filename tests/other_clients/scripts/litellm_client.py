"""LiteLLM, with the provider for servers of OpenAI's API and with the one for vLLM."""

from __future__ import annotations

import asyncio
from typing import Any

import litellm

from tests.other_clients.scripts.report import (
    LONG,
    MODEL,
    N_TOKENS,
    OTHER_STORY,
    QUESTION,
    STORY,
    TUNED,
    Check,
    Server,
    report,
)

MESSAGES = [{"role": "user", "content": QUESTION}]


class Provider:
    """The checks of one provider."""

    def __init__(self, name: str) -> None:
        self._name = name

    def _settings(self, server: Server, *, model: str = MODEL) -> dict[str, Any]:
        return {"model": f"{self._name}/{model}", "api_base": server.url, "api_key": server.key, "num_retries": 0}

    def _greedy(self, server: Server, **changes: Any) -> dict[str, Any]:
        return {**self._settings(server), "temperature": 0, "max_tokens": N_TOKENS, **changes}

    def completion(self, server: Server) -> Any:
        found = litellm.completion(messages=MESSAGES, **self._greedy(server))
        chunks = list(litellm.completion(messages=MESSAGES, stream=True, **self._greedy(server)))
        return {
            "text": found.choices[0].message.content,
            "usage": [found.usage.prompt_tokens, found.usage.completion_tokens],
            "streamed": "".join(chunk.choices[0].delta.content or "" for chunk in chunks),
            "reason": chunks[-1].choices[0].finish_reason,
        }

    def sampled(self, server: Server) -> Any:
        options = {"temperature": 1, "n": 2, "seed": 3, "stop": ["."], "logprobs": True, "top_logprobs": 2}
        found = litellm.completion(messages=MESSAGES, **self._greedy(server, **options))
        return [[len(token.top_logprobs) for token in choice.logprobs.content] for choice in found.choices]

    def concurrent(self, server: Server) -> Any:
        async def texts() -> list[str]:
            requests = [litellm.acompletion(messages=MESSAGES, **self._greedy(server)) for _ in range(3)]
            return [found.choices[0].message.content for found in await asyncio.gather(*requests)]

        return asyncio.run(texts())

    def text_completion(self, server: Server) -> Any:
        found = litellm.text_completion(prompt=[STORY, OTHER_STORY], **self._greedy(server))
        chunks = litellm.text_completion(prompt=STORY, stream=True, **self._greedy(server))
        return {
            "texts": [choice.text for choice in found.choices],
            "streamed": "".join(chunk.choices[0].text or "" for chunk in chunks),
        }

    def tuned(self, server: Server) -> Any:
        settings = {**self._greedy(server), **self._settings(server, model=TUNED)}
        return litellm.text_completion(prompt=STORY, **settings).choices[0].text

    def embedding(self, server: Server) -> Any:
        found = litellm.embedding(input=[STORY, QUESTION], **self._settings(server))
        return [one["embedding"] for one in found.data]

    def too_long(self, server: Server) -> Any:
        litellm.completion(messages=[{"role": "user", "content": LONG}], **self._greedy(server))

    def unknown_model(self, server: Server) -> Any:
        litellm.completion(messages=MESSAGES, **self._settings(server, model="nobody"))

    def wrong_key(self, server: Server) -> Any:
        litellm.completion(messages=MESSAGES, **self._greedy(server, api_key="wrong"))

    @property
    def checks(self) -> dict[str, Check]:
        """All checks by name."""
        found = [self.completion, self.sampled, self.concurrent, self.text_completion, self.tuned, self.embedding]
        errors = [self.too_long, self.unknown_model, self.wrong_key]
        return {f"{self._name}/{check.__name__}": check for check in [*found, *errors]}


if __name__ == "__main__":
    report({**Provider("openai").checks, **Provider("hosted_vllm").checks})
