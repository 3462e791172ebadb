"""The same questions under several prompts and under none, all in flight at once: one batch of the engine."""

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx
from promptatlas import AsyncClient

from demo.scaffold import under_header
from demo.tasks import Example

MAX_TOKENS: Final = 10
IDLE_WITHIN_S: Final = 5.0


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
class Answer:
    """What the model wrote, and whether it ended by itself or was cut off."""

    text: str
    ended: bool

    def is_right(self, example: Example) -> bool:
        """Whether it is the wanted answer and nothing else."""
        return self.ended and example.is_answered_by(self.text)


@dataclass(frozen=True)
class Answers:
    """Answers by way, in the order of the questions; what they cost. n_steps: forwards of the model for all of it."""

    by_way: dict[str, tuple[Answer, ...]]
    n_steps: int
    seconds: float

    @property
    def n_rows(self) -> int:
        """Completions in all."""
        return sum(len(answers) for answers in self.by_way.values())

    def n_right(self, label: str, *, examples: Sequence[Example]) -> int:
        """How many of a way's answers are right."""
        return sum(answer.is_right(one) for answer, one in zip(self.by_way[label], examples, strict=True))


def ask_all(url: str, *, model: str, ways: Sequence[Way], examples: Sequence[Example]) -> Answers:
    """One request a way, sent together."""
    before = _n_steps(url)
    began = time.monotonic()
    by_way = asyncio.run(_ask_together(url, model=model, ways=ways, examples=examples))
    seconds = time.monotonic() - began
    return Answers(by_way, _n_steps(url) - before, seconds)


async def _ask_together(
    url: str, *, model: str, ways: Sequence[Way], examples: Sequence[Example]
) -> dict[str, tuple[Answer, ...]]:
    async with AsyncClient(url) as client:
        answers = await asyncio.gather(*(_ask(client, model=model, way=way, examples=examples) for way in ways))
    return {way.label: answer for way, answer in zip(ways, answers, strict=True)}


async def _ask(client: AsyncClient, *, model: str, way: Way, examples: Sequence[Example]) -> tuple[Answer, ...]:
    completion = await client.completions.create(
        model=model,
        prompt=[way.input(one.input) for one in examples],
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
