"""inspect-ai: tasks with two providers; a text that is too long ends its sample and not the task."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.other_clients.clients_environment import SCRIPTS, Clients
from tests.other_clients.plain_model import PlainModel

ROWS = [json.loads(line) for line in (SCRIPTS.parent / "tasks" / "places.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def results(clients: Clients) -> Any:
    return clients.results_of("inspect_client", example="inspect-ai")


@pytest.mark.parametrize("check", ["task", "task_streamed", "task_vllm"])
def test_a_task(results: Any, plain: PlainModel, check: str) -> None:
    texts = [plain.answer(row["text"]) for row in ROWS]
    found = results[check]
    assert (found["status"], found["error"], found["texts"]) == ("success", None, texts)
    assert {"stop", "max_tokens"} == set(found["reasons"])
    hits = [row["answer"].lower() in text.lower() for row, text in zip(ROWS, texts, strict=True)]
    assert found["accuracy"] == pytest.approx(sum(hits) / len(hits))
    assert any(hits)


def test_a_tuned_prompt(results: Any, plain: PlainModel) -> None:
    texts = [plain.answer(row["text"], tuned=True) for row in ROWS]
    assert results["task_tuned"]["texts"] == texts
    assert texts != results["task"]["texts"]


def test_sampling(results: Any) -> None:
    found = results["task_sampled"]
    assert (found["status"], found["n_choices"]) == ("success", [2] * len(ROWS))


def test_a_text_that_is_too_long(results: Any) -> None:
    found = results["too_long"]
    assert (found["status"], found["reasons"]) == ("success", ["model_length"] * len(ROWS))


def test_the_example_of_the_page(results: Any) -> None:
    assert results["example"] == "1.0\n"
