"""The official client in its current version: answers equal plain transformers, errors are the client's own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.other_clients.clients_environment import Clients
from tests.other_clients.plain_model import PlainModel
from tests.other_clients.scripts.report import MODEL, N_TOKENS, OTHER_STORY, QUESTION, STORY, TUNED


@pytest.fixture(scope="module")
def results(clients: Clients) -> Any:
    return clients.results_of("openai_client", example="openai")


def test_models(results: Any) -> None:
    assert results["models"] == {"ids": [MODEL, TUNED], "one": MODEL}


def test_completions(results: Any, plain: PlainModel) -> None:
    found = results["completions"]
    assert found["texts"] == [plain.continuation(STORY), plain.continuation(OTHER_STORY)]
    assert found["usage"]["prompt_tokens"] == plain.n_tokens(STORY) + plain.n_tokens(OTHER_STORY)
    assert found["usage"]["completion_tokens"] == 2 * N_TOKENS


def test_six_stop_strings(results: Any, plain: PlainModel) -> None:
    assert results["stopped"] == {"text": plain.continuation(STORY).split(".")[0], "reason": "stop"}


def test_streams(results: Any, plain: PlainModel) -> None:
    found = results["streamed"]
    assert found["text"] == plain.continuation(STORY)
    assert found["n_parts"] > 3
    assert found["usage"]["completion_tokens"] == N_TOKENS


def test_chats(results: Any, plain: PlainModel) -> None:
    expected = plain.answer(QUESTION)
    assert results["chat"] == {
        "text": expected,
        "reason": "stop",
        "n_alternatives": [3, 3],
        "roles": ["assistant"],
        "streamed": expected,
    }


def test_scores_of_a_text(results: Any, plain: PlainModel) -> None:
    first, *others = results["scored"]["logprobs"]
    assert first is None
    assert others == pytest.approx(plain.logprobs(STORY), abs=1e-3)
    assert "".join(results["scored"]["tokens"]) == STORY


def test_a_tuned_prompt(results: Any, plain: PlainModel) -> None:
    assert results["tuned"] == plain.continuation(STORY, tuned=True) != plain.continuation(STORY)


def test_embeddings(results: Any, plain: PlainModel) -> None:
    found = results["embeddings"]
    np.testing.assert_allclose(found["vectors"], [plain.embedding(text) for text in (STORY, QUESTION)], atol=1e-3)
    np.testing.assert_allclose(found["vectors"], found["as_numbers"], rtol=1e-6)


def test_concurrent_requests_of_the_asynchronous_client(results: Any, plain: PlainModel) -> None:
    texts = [plain.continuation(STORY), plain.continuation(OTHER_STORY)] * 3
    assert results["concurrent"] == [*texts, plain.answer(QUESTION)]


def test_a_full_server_is_retried(results: Any) -> None:
    found = results["retried"]
    assert found["refused"]["code"] == "too_many_requests"
    assert int(found["refused"]["retry_after"]) >= 1
    assert (found["statuses"][0], found["statuses"][-1]) == (429, 200)
    assert found["n_choices"] == 128


@pytest.mark.parametrize(
    ("check", "error", "code", "param"),
    [
        ("unknown_model", "NotFoundError", "model_not_found", "model"),
        ("too_long", "UnprocessableEntityError", "context_length_exceeded", "prompt"),
        ("too_long_to_embed", "UnprocessableEntityError", "context_length_exceeded", "input"),
        ("wrong_key", "AuthenticationError", "unauthorized", None),
        ("with_tools", "UnprocessableEntityError", "invalid_request", "tools"),
        ("responses", "NotFoundError", "not_found", None),
    ],
)
def test_errors(results: Any, check: str, error: str, code: str, param: str | None) -> None:
    found = results[check]
    assert (found["error"], found["code"], found["param"]) == (error, code, param)
    # The client shows a message only if it finds one in the body.
    assert " - " in found["message"]


def test_the_example_of_the_page(results: Any, plain: PlainModel) -> None:
    assert results["example"] == " mill\n cave"
