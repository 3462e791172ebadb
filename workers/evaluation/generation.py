"""Generation of many texts with the serving engine: rows of different prompts in one batch, batch-invariant."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from service.engine.engine import Engine
from service.engine.inputs import PromptChoice
from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt
from service.engine.requests import Delta, Event, Failed, Generate, Limits, RowDone, Sampling
from service.engine.shapes import Tensor

_GREEDY = Sampling(temperature=0.0)


@dataclass(frozen=True, kw_only=True)
class GenerationInput:
    """Token ids to continue under the prompt ``label``, for at most ``max_tokens`` tokens.

    top_tokens: number of most probable tokens to return with each generated token; None: nothing.
    """

    label: str
    ids: tuple[int, ...]
    max_tokens: int
    sampling: Sampling = _GREEDY
    stop: tuple[str, ...] = ()
    min_tokens: int = 0
    top_tokens: int | None = None


@dataclass(frozen=True, kw_only=True)
class Output:
    """A generated text. finish_reason: ``stop`` at the end of text, ``length`` at ``max_tokens``.

    token_ids: a token that ends the text included. top_tokens: as in the engine's delta.
    """

    text: str
    finish_reason: str
    n_generated: int
    token_ids: tuple[int, ...] = ()
    top_tokens: tuple[Tensor, Tensor, Tensor] | None = None


class TextGenerator:
    """Generates with one model under a fixed set of prompts.

    Args:
        prompts: By label; None is the bare model.
        limits: Limits of the batch.
        check: Called before every step. An exception that it raises cancels all requests.
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

    def generate(
        self, inputs: Sequence[GenerationInput], *, on_done: Callable[[int], None] | None = None
    ) -> list[Output]:
        """Generate for all inputs; outputs are in the same order.

        Args:
            on_done: Called with the number of finished inputs after each step that finished some.

        Raises:
            AtlasError: An input cannot be generated from, e.g. because it exceeds the model's context.
        """
        # Rows of similar length are prefilled and finish together.
        waiting = sorted(range(len(inputs)), key=lambda i: (-len(inputs[i].ids), inputs[i].label, i))
        outputs = _Outputs(len(inputs))
        submitted: set[str] = set()
        try:
            while outputs.n_done < len(inputs):
                self._check()
                while waiting and len(submitted) - outputs.n_done < self._n_ahead:
                    i = waiting.pop()
                    self._engine.submit(self._request(i, inputs[i]))
                    submitted.add(str(i))
                n_before = outputs.n_done
                for event in self._engine.step():
                    outputs.add(event)
                if on_done is not None and outputs.n_done > n_before:
                    on_done(outputs.n_done)
        except BaseException:
            for request_id in submitted:
                self._engine.cancel(request_id)
            raise
        return outputs.in_order()

    def _request(self, index: int, item: GenerationInput) -> Generate:
        bare = self._prompts[item.label] is None
        return Generate(
            request_id=str(index),
            inputs=(item.ids,),
            max_tokens=item.max_tokens,
            sampling=item.sampling,
            stop=item.stop,
            min_tokens=item.min_tokens,
            top_tokens=item.top_tokens,
            prompt=None if bare else PromptChoice(parts=((item.label, 1.0),)),
        )

    def _load(self, label: str) -> Prompt:
        prompt = self._prompts[label]
        assert prompt is not None
        return prompt


class _Outputs:
    """Outputs by the index of their input, filled from engine events."""

    def __init__(self, n: int) -> None:
        self._deltas: dict[int, Delta] = {}
        self._n = n
        self._ends: dict[int, RowDone] = {}

    @property
    def n_done(self) -> int:
        return len(self._ends)

    def add(self, event: Event) -> None:
        if isinstance(event, Failed):
            raise event.error
        if isinstance(event, Delta):
            # A row that is not streamed has one delta, at its end.
            self._deltas[int(event.request_id)] = event
        elif isinstance(event, RowDone):
            self._ends[int(event.request_id)] = event

    def in_order(self) -> list[Output]:
        return [
            Output(
                text=self._deltas[i].text,
                finish_reason=self._ends[i].finish_reason,
                n_generated=self._ends[i].n_generated,
                token_ids=self._deltas[i].token_ids,
                top_tokens=self._deltas[i].top_tokens,
            )
            for i in range(self._n)
        ]
