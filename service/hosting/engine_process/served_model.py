"""One hosted model, as the loop of the engine process uses it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from service.engine.comparisons import LensDivergence
from service.engine.inputs import PromptChoice
from service.engine.requests import (
    Capture,
    Detokenize,
    Estimate,
    Event,
    Generate,
    KeysValues,
    Tensors,
    Tokenize,
)
from service.engine.statistics import EngineStatistics, RequestTimes
from service.hosting.engine_process.chat_limit import CountChat
from service.hosting.engine_process.prompt_fetches import PromptFetches
from service.hosting.engine_process.request_tensors import attach_states
from service.hosting.ipc.messages import CompareStates, ExportPrompt

if TYPE_CHECKING:
    from service.engine.prompts.prompt import Prompt

Contents = Mapping[str, "Prompt"]
"""Prompts by content hash."""


class EngineLike(Protocol):
    """The part of an engine that the loop uses: one model, one continuous batch."""

    @property
    def has_work(self) -> bool: ...
    def missing(self, choice: PromptChoice | None) -> tuple[str, ...]: ...
    def submit(
        self, request: Generate | Capture, *, contents: Contents, arrived_s: float | None = None
    ) -> tuple[int, ...]: ...
    def cancel(self, request_id: str, *, has_failed: bool = False) -> None: ...
    def step(self) -> list[Event]: ...
    def estimate(self, request: Capture, *, contents: Contents) -> Estimate: ...
    def keys_values(self, request: KeysValues, *, contents: Contents) -> Tensors: ...
    def lens_divergence(self, request: LensDivergence) -> Tensors: ...
    def tokenize(self, request: Tokenize) -> tuple[tuple[int, ...], ...]: ...
    def detokenize(self, request: Detokenize) -> str: ...
    def stats(self) -> Mapping[str, float]: ...
    def statistics(self) -> EngineStatistics: ...
    def watch(self, on_end: Callable[[RequestTimes], None]) -> None: ...


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """One engine and the fields of its model's card.

    prompts: fetches what the engine misses. count_chat: number of tokens of a chat, including the chat template; None for a
    model without one.
    """

    engine: EngineLike
    card: Mapping[str, Any]
    prompts: PromptFetches[Prompt]
    count_chat: CountChat | None = None

    def tensors_of(self, message: ExportPrompt | CompareStates, *, contents: Contents) -> Tensors:
        """The answer to a message that needs no step of the engine."""
        if isinstance(message, CompareStates):
            return self.engine.lens_divergence(attach_states(message.request))
        return self.engine.keys_values(message.request, contents=contents)

    def stats(self) -> dict[str, float]:
        """Gauges and counters for monitoring."""
        return {**self.engine.stats(), "prompt_fetches": self.prompts.n_fetched}
