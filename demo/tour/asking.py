"""The same questions under several prompts and under none, all in flight at once: one batch of the engine."""

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx
from promptatlas import AsyncClient, Client

from demo.scaffold import under_header

MAX_TOKENS: Final = 10
IDLE_WITHIN_S: Final = 5.0


@dataclass(frozen=True)
class Question:
    """A held-out one, and all answers that count as right."""

    input: str
    answers: tuple[str, ...]


@dataclass(frozen=True)
class Way:
    """One way of asking: under a prompt, a mix of prompts, or none, with the header typed in front or not."""

    label: str
    prompt: str | Mapping[str, Any] | None = None
    header: str | None = None

    def input(self, question: str) -> str:
        """The text to send."""
        return question if self.header is None else under_header(question, header=self.header)


@dataclass(frozen=True)
class Quiz:
    """Questions of one task, and the ways in which each of them is asked."""

    title: str
    questions: tuple[Question, ...]
    ways: tuple[Way, ...]


@dataclass(frozen=True)
class Answer:
    """What the model wrote, and whether it ended by itself or was cut off."""

    text: str
    ended: bool

    def is_right(self, question: Question) -> bool:
        """Whether it is a wanted answer and nothing else."""
        return self.ended and self.text.strip() in question.answers


@dataclass(frozen=True)
class Answers:
    """By quiz and way, in the order of the questions; what they cost. n_steps: forwards of the model for all of it."""

    by_quiz: tuple[Mapping[str, tuple[Answer, ...]], ...]
    n_steps: int
    seconds: float

    @property
    def n_rows(self) -> int:
        """Completions in all."""
        return sum(len(answers) for by_way in self.by_quiz for answers in by_way.values())


def n_right(answers: Sequence[Answer], questions: Sequence[Question]) -> int:
    """How many answers are right."""
    return sum(answer.is_right(question) for answer, question in zip(answers, questions, strict=True))


def read_questions(client: Client, dataset: str, *, n: int) -> tuple[Question, ...]:
    """The first of a dataset's test split."""
    items = client.datasets.peek(dataset, split="test", limit=n).data
    return tuple(Question(item.input or "", tuple(item.answers or ())) for item in items)


def ask_all(url: str, *, model: str, quizzes: Sequence[Quiz]) -> Answers:
    """One request a way, all of them sent together."""
    before = _n_steps(url)
    began = time.monotonic()
    by_quiz = asyncio.run(_ask_together(url, model=model, quizzes=quizzes))
    seconds = time.monotonic() - began
    return Answers(by_quiz, _n_steps(url) - before, seconds)


async def _ask_together(
    url: str, *, model: str, quizzes: Sequence[Quiz]
) -> tuple[Mapping[str, tuple[Answer, ...]], ...]:
    asked = [(way, quiz.questions) for quiz in quizzes for way in quiz.ways]
    async with AsyncClient(url) as client:
        found = iter(
            await asyncio.gather(*(_ask(client, model=model, way=way, questions=questions) for way, questions in asked))
        )
    return tuple({way.label: next(found) for way in quiz.ways} for quiz in quizzes)


async def _ask(client: AsyncClient, *, model: str, way: Way, questions: Sequence[Question]) -> tuple[Answer, ...]:
    completion = await client.completions.create(
        model=model,
        prompt=[way.input(question.input) for question in questions],
        prompt_ref=way.prompt,
        max_tokens=MAX_TOKENS,
        temperature=0,
    )
    return tuple(Answer(choice.text, choice.finish_reason == "stop") for choice in completion.choices)


def _n_steps(url: str) -> int:
    """Forwards so far, once the engine rests and so has told its last numbers."""
    give_up_s = time.monotonic() + IDLE_WITHIN_S
    while True:
        text = httpx.get(f"{url}/metrics").text
        if _gauge(text, "n_running") == 0 or time.monotonic() > give_up_s:
            return int(_gauge(text, "n_steps_total"))
        time.sleep(0.05)


def _gauge(text: str, name: str) -> float:
    found = re.search(rf"^promptatlas_engine_{name}{{.*}} (\S+)$", text, re.MULTILINE)
    if found is None:
        raise LookupError(f"expected promptatlas_engine_{name} among the service's metrics")
    return float(found[1])
