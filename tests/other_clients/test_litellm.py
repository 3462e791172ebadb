"""LiteLLM with two providers: the same answers, and its own classes of errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.other_clients.clients_environment import Clients
from tests.other_clients.plain_model import PlainModel
from tests.other_clients.scripts.report import OTHER_STORY, QUESTION, STORY

PROVIDERS = pytest.mark.parametrize("provider", ["openai", "hosted_vllm"])


@pytest.fixture(scope="module")
def results(clients: Clients) -> Any:
    return clients.results_of("litellm_client", example="LiteLLM")


@PROVIDERS
def test_chats(results: Any, plain: PlainModel, provider: str) -> None:
    expected = plain.answer(QUESTION)
    found = results[f"{provider}/completion"]
    assert (found["text"], found["streamed"], found["reason"]) == (expected, expected, "stop")
    assert found["usage"] == [24, 2]
    assert results[f"{provider}/concurrent"] == [expected] * 3
    sampled = results[f"{provider}/sampled"]
    assert len(sampled) == 2
    assert all(counts and set(counts) == {2} for counts in sampled)


@PROVIDERS
def test_completions(results: Any, plain: PlainModel, provider: str) -> None:
    text, other = plain.continuation(STORY), plain.continuation(OTHER_STORY)
    assert results[f"{provider}/text_completion"] == {"texts": [text, other], "streamed": text}


@PROVIDERS
def test_a_tuned_prompt(results: Any, plain: PlainModel, provider: str) -> None:
    assert results[f"{provider}/tuned"] == plain.continuation(STORY, tuned=True) != plain.continuation(STORY)


@PROVIDERS
def test_embeddings(results: Any, plain: PlainModel, provider: str) -> None:
    expected = [plain.embedding(text) for text in (STORY, QUESTION)]
    np.testing.assert_allclose(results[f"{provider}/embedding"], expected, atol=1e-3)


@PROVIDERS
@pytest.mark.parametrize(
    ("check", "error"),
    [
        ("too_long", "ContextWindowExceededError"),
        ("unknown_model", "NotFoundError"),
        ("wrong_key", "AuthenticationError"),
    ],
)
def test_errors(results: Any, provider: str, check: str, error: str) -> None:
    assert results[f"{provider}/{check}"]["error"] == error


def test_the_example_of_the_page(results: Any, plain: PlainModel) -> None:
    assert results["example"] == f" mill\n mill\n{len(plain.embedding(STORY))}\n"
