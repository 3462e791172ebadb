"""Completions of the same questions under several prompts and without one, sent at once: one batch of the engine."""

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx
from promptatlas import AsyncClient, Client

INPUT: Final = "{input}"
IDLE_WITHIN_S: Final = 5.0


@dataclass(frozen=True)
class Question:
    """A held-out question and all answers that count as correct."""

    input: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Variant:
    """One variant of a request: a prompt, a mix of prompts or none, with or without an instruction in the text.

    frame: the text, with ``{input}`` for the question; None: the question alone.
    """

    label: str
    prompt: str | Mapping[str, Any] | None = None
    frame: str | None = None

    def input(self, question: str) -> str:
        """The input text of a question."""
        return question if self.frame is None else self.frame.replace(INPUT, question)


@dataclass(frozen=True)
class QuestionSet:
    """Questions of one task, and the variants in which each of them is completed. max_tokens: limit of an answer."""

    title: str
    questions: tuple[Question, ...]
    variants: tuple[Variant, ...]
    max_tokens: int


@dataclass(frozen=True)
class Answer:
    """A completion. ended: it ended with an end-of-text token and was not truncated."""

    text: str
    ended: bool

    def is_correct(self, question: Question) -> bool:
        """Whether the completion is exactly one of the correct answers."""
        return self.ended and self.text.strip() in question.answers


@dataclass(frozen=True)
class Answers:
    """Answers by question set and variant, in the order of the questions. n_steps: forwards of the model in all."""

    by_question_set: tuple[Mapping[str, tuple[Answer, ...]], ...]
    n_steps: int
    seconds: float

    @property
    def n_rows(self) -> int:
        """Number of completions."""
        return sum(len(answers) for by_variant in self.by_question_set for answers in by_variant.values())


def n_correct(answers: Sequence[Answer], questions: Sequence[Question]) -> int:
    """Number of correct answers."""
    return sum(answer.is_correct(question) for answer, question in zip(answers, questions, strict=True))


def read_questions(client: Client, dataset: str, *, n: int) -> tuple[Question, ...]:
    """The first `n` questions of a dataset's test split."""
    items = client.datasets.peek(dataset, split="test", limit=n).data
    return tuple(Question(item.input or "", tuple(item.answers or ())) for item in items)


def complete_all(url: str, *, model: str, question_sets: Sequence[QuestionSet]) -> Answers:
    """Complete all questions, with one request per variant, sent concurrently."""
    before = _n_steps(url)
    started = time.monotonic()
    by_question_set = asyncio.run(_complete_concurrently(url, model=model, question_sets=question_sets))
    seconds = time.monotonic() - started
    return Answers(by_question_set, _n_steps(url, above=before) - before, seconds)


async def _complete_concurrently(
    url: str, *, model: str, question_sets: Sequence[QuestionSet]
) -> tuple[Mapping[str, tuple[Answer, ...]], ...]:
    requests = [(variant, one) for one in question_sets for variant in one.variants]
    async with AsyncClient(url) as client:
        calls = (_complete(client, model=model, variant=variant, question_set=one) for variant, one in requests)
        answers = iter(await asyncio.gather(*calls))
    return tuple({variant.label: next(answers) for variant in one.variants} for one in question_sets)


async def _complete(
    client: AsyncClient, *, model: str, variant: Variant, question_set: QuestionSet
) -> tuple[Answer, ...]:
    completion = await client.completions.create(
        model=model,
        prompt=[variant.input(question.input) for question in question_set.questions],
        prompt_ref=variant.prompt,
        max_tokens=question_set.max_tokens,
        temperature=0,
    )
    return tuple(Answer(choice.text, choice.finish_reason == "stop") for choice in completion.choices)


def _n_steps(url: str, *, above: int = -1) -> int:
    """Number of forwards so far, read when the engine is idle and its metrics are complete.

    above: a number that it exceeds as soon as the metrics are complete.
    """
    give_up_s = time.monotonic() + IDLE_WITHIN_S
    while True:
        text = httpx.get(f"{url}/metrics").text
        n_steps = int(_gauge(text, "n_steps_total"))
        if (n_steps > above and _gauge(text, "n_running") == 0) or time.monotonic() > give_up_s:
            return n_steps
        time.sleep(0.05)


def _gauge(text: str, name: str) -> float:
    found = re.search(rf"^promptatlas_engine_{name}{{.*}} (\S+)$", text, re.MULTILINE)
    if found is None:
        raise LookupError(f"expected promptatlas_engine_{name} among the service's metrics")
    return float(found[1])
