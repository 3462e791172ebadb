"""The engine without HTTP: all requests are submitted at once, then it steps until all have ended."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from benchmarks.sides.workload import CompletionTask
from service.engine.engine import Engine
from service.engine.inputs import PromptChoice
from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt, from_tensors
from service.engine.requests import Capture, CaptureSpec, Delta, Done, Event, Failed, Generate, Limits, Sampling

GREEDY = Sampling(temperature=0.0)


class EngineSide:
    """One engine with one model and some soft prompts, warm between runs as in a service."""

    def __init__(self, module: Any, *, prompts: Sequence[Tensor] = (), limits: Limits | None = None) -> None:
        hosted = HostedModel("benchmark", module, None, revision="random")
        self._prompts = {str(i): from_tensors({"soft": vectors}) for i, vectors in enumerate(prompts)}
        self.engine = Engine(hosted, limits=limits or Limits(), load_prompt=self._load)
        self._numbers = itertools.count()

    def complete(self, tasks: Sequence[CompletionTask], *, capture: CaptureSpec | None = None) -> list[tuple[int, ...]]:
        """Greedy tokens of each request."""
        request_ids = [self.submit(task, capture=capture) for task in tasks]
        tokens: dict[str, tuple[int, ...]] = defaultdict(tuple)
        for event in self.events():
            if isinstance(event, Delta):
                tokens[event.request_id] += event.token_ids
        return [tokens[request_id] for request_id in request_ids]

    def trajectories(self, texts: Sequence[tuple[int, ...]], *, n_new: int, spec: CaptureSpec) -> Mapping[str, Tensor]:
        """One request for all texts; returns its tensors."""
        self.engine.submit(
            Generate(request_id=self._new_id(), inputs=tuple(texts), max_tokens=n_new, sampling=GREEDY, capture=spec)
        )
        return self._tensors()

    def capture(self, texts: Sequence[tuple[int, ...]], *, spec: CaptureSpec) -> Mapping[str, Tensor]:
        """One request for all texts; returns its tensors."""
        self.engine.submit(Capture(request_id=self._new_id(), inputs=tuple(texts), capture=spec))
        return self._tensors()

    def submit(self, task: CompletionTask, *, capture: CaptureSpec | None = None) -> str:
        """Submit one request; returns its id."""
        request_id = self._new_id()
        self.engine.submit(
            Generate(
                request_id=request_id,
                inputs=(task.ids,),
                max_tokens=task.n_new,
                sampling=GREEDY,
                prompt=_choice_of(task),
                capture=capture,
            )
        )
        return request_id

    def step(self) -> list[Event]:
        """One step of the engine.

        Raises:
            AtlasError: a request failed, which no benchmark means to happen.
        """
        events = self.engine.step()
        for event in events:
            if isinstance(event, Failed):
                raise event.error
        return events

    def events(self) -> Iterable[Event]:
        """Step until all requests have ended."""
        while self.engine.has_work:
            yield from self.step()

    def _tensors(self) -> Mapping[str, Tensor]:
        done = [event for event in self.events() if isinstance(event, Done)]
        if len(done) != 1 or done[0].result is None:
            raise RuntimeError(f"expected one answer with tensors, got {len(done)} answers.")
        return done[0].result.tensors

    def _load(self, sha256: str) -> Prompt:
        return self._prompts[sha256]

    def _new_id(self) -> str:
        return f"request-{next(self._numbers)}"


def _choice_of(task: CompletionTask) -> PromptChoice | None:
    chosen = task.ensemble or (() if task.prompt is None else (task.prompt,))
    if not chosen:
        return None
    return PromptChoice(parts=tuple((str(i), 1.0) for i in chosen), is_ensemble=bool(task.ensemble))
