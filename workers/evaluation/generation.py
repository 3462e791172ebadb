"""Greedy answers from the engine that serves: rows of any prompts in one batch, each the same as alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from service.engine.engine import Engine
from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt
from service.engine.requests import Delta, Event, Failed, Generate, Limits, PromptChoice, RowDone, Sampling

_GREEDY = Sampling(temperature=0.0)


@dataclass(frozen=True, kw_only=True)
class Question:
    """Token ids to go on from under the prompt ``label``, for at most ``max_tokens`` tokens."""

    label: str
    ids: tuple[int, ...]
    max_tokens: int


@dataclass(frozen=True, kw_only=True)
class Output:
    """What was generated. finish_reason: ``stop`` at the end of text, ``length`` if it was cut."""

    text: str
    finish_reason: str
    n_generated: int


class AnswerGenerator:
    """Asks one model under a fixed set of prompts.

    Args:
        prompts: by label; None is the bare model.
        limits: of the batch.
        check: called before every step; what it raises ends the asking, and nothing of it stays in the engine.
    """

    def __init__(
        self,
        model: HostedModel,
        *,
        prompts: Mapping[str, Prompt | None],
        limits: Limits,
        check: Callable[[], None],
    ) -> None:
        self._prompts = prompts
        self._n_ahead = max(1, min(2 * limits.max_rows, limits.max_waiting))
        self._check = check
        self._engine = Engine(model, limits=limits, load_prompt=self._load)

    def ask(self, questions: Sequence[Question], *, on_done: Callable[[int], None] | None = None) -> list[Output]:
        """The outputs, in order.

        Args:
            on_done: told how many questions have been answered, after each step that answered some.

        Raises:
            AtlasError: a question cannot be asked, such as one past the model's context.
        """
        # Rows of about one length read and end together.
        waiting = sorted(range(len(questions)), key=lambda i: (-len(questions[i].ids), questions[i].label, i))
        collected = _Collected(len(questions))
        asked: set[str] = set()
        try:
            while collected.n_done < len(questions):
                self._check()
                while waiting and len(asked) - collected.n_done < self._n_ahead:
                    i = waiting.pop()
                    self._engine.submit(self._request(i, questions[i]))
                    asked.add(str(i))
                n_before = collected.n_done
                for event in self._engine.step():
                    collected.take(event)
                if on_done is not None and collected.n_done > n_before:
                    on_done(collected.n_done)
        except BaseException:
            for request_id in asked:
                self._engine.cancel(request_id)
            raise
        return collected.outputs()

    def _request(self, index: int, question: Question) -> Generate:
        bare = self._prompts[question.label] is None
        return Generate(
            request_id=str(index),
            inputs=(question.ids,),
            max_tokens=question.max_tokens,
            sampling=_GREEDY,
            prompt=None if bare else PromptChoice(parts=((question.label, 1.0),)),
        )

    def _load(self, label: str) -> Prompt:
        prompt = self._prompts[label]
        assert prompt is not None
        return prompt


class _Collected:
    """Outputs by the number of their question, as events bring them."""

    def __init__(self, n: int) -> None:
        self._texts: list[list[str]] = [[] for _ in range(n)]
        self._ends: dict[int, RowDone] = {}

    @property
    def n_done(self) -> int:
        return len(self._ends)

    def take(self, event: Event) -> None:
        if isinstance(event, Failed):
            raise event.error
        if isinstance(event, Delta):
            self._texts[int(event.request_id)].append(event.text)
        elif isinstance(event, RowDone):
            self._ends[int(event.request_id)] = event

    def outputs(self) -> list[Output]:
        return [
            Output(
                text="".join(parts),
                finish_reason=self._ends[i].finish_reason,
                n_generated=self._ends[i].n_generated,
            )
            for i, parts in enumerate(self._texts)
        ]
