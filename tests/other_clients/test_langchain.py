"""LangChain: chats, completions and embeddings; its own class of error for texts that are too long."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.other_clients.clients_environment import Clients
from tests.other_clients.plain_model import PlainModel
from tests.other_clients.scripts.report import OTHER_STORY, QUESTION, STORY


@pytest.fixture(scope="module")
def results(clients: Clients) -> Any:
    return clients.results_of("langchain_client", example="LangChain")


def test_chats(results: Any, plain: PlainModel) -> None:
    expected = plain.answer(QUESTION)
    chat = results["chat"]
    assert (chat["text"], chat["reason"], chat["usage"]["output_tokens"]) == (expected, "stop", 2)
    assert results["chat_streamed"] == {"text": expected, "n_generated": 2}
    assert results["chat_logprobs"] == [2, 2]
    assert results["chat_async"] == [expected] * 4
    assert results["chain"] == [expected] * 5
    assert results["several"] == 2


def test_completions(results: Any, plain: PlainModel) -> None:
    text, other = plain.continuation(STORY), plain.continuation(OTHER_STORY)
    assert results["llm"] == {"text": text, "batch": [text, other] * 3, "stream": text, "stopped": text.split(".")[0]}


def test_a_tuned_prompt(results: Any, plain: PlainModel) -> None:
    assert results["tuned"] == plain.continuation(STORY, tuned=True) != plain.continuation(STORY)


def test_embeddings(results: Any, plain: PlainModel) -> None:
    expected = [plain.embedding(text) for text in (STORY, QUESTION)]
    np.testing.assert_allclose(results["embeddings"]["documents"], expected, atol=1e-3)
    np.testing.assert_allclose(results["embeddings"]["query"], expected[0], atol=1e-3)


@pytest.mark.parametrize(
    ("check", "kind", "param"),
    [
        ("too_long", "ContextOverflowError", "messages"),
        ("unknown_model", "ModelNotFoundError", "model"),
        ("structured", "UnprocessableEntityError", "response_format.type"),
    ],
)
def test_errors(results: Any, check: str, kind: str, param: str) -> None:
    found = results[check]
    assert kind in found["bases"]
    assert found["param"] == param


def test_the_example_of_the_page(results: Any, plain: PlainModel) -> None:
    assert results["example"] == f" mill\n mill\n{len(plain.embedding(STORY))}\n"
