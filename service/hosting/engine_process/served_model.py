"""One hosted model, as the loop of the engine process uses it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from service.engine.inputs import PromptChoice
from service.engine.requests import Capture, Detokenize, Estimate, Event, Generate, KeysValues, Tensors, Tokenize
from service.hosting.engine_process.prompt_fetches import PromptFetches

if TYPE_CHECKING:
    from service.engine.prompts.prompt import Prompt

Contents = Mapping[str, "Prompt"]
"""Prompts by content hash."""


class EngineLike(Protocol):
    """The part of an engine that the loop uses: one model, one continuous batch."""

    @property
    def has_work(self) -> bool: ...
    def missing(self, choice: PromptChoice | None) -> tuple[str, ...]: ...
    def submit(self, request: Generate | Capture, *, contents: Contents) -> None: ...
    def cancel(self, request_id: str) -> None: ...
    def step(self) -> list[Event]: ...
    def estimate(self, request: Capture, *, contents: Contents) -> Estimate: ...
    def keys_values(self, request: KeysValues, *, contents: Contents) -> Tensors: ...
    def tokenize(self, request: Tokenize) -> tuple[tuple[int, ...], ...]: ...
    def detokenize(self, request: Detokenize) -> str: ...
    def stats(self) -> Mapping[str, float]: ...


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """One engine and the fields of its model's card.

    prompts: fetches what the engine misses. count_chat: number of tokens of a chat, including the chat template; None for a
    model without one.
    """

    engine: EngineLike
    card: Mapping[str, Any]
    prompts: PromptFetches[Prompt]
    count_chat: Callable[[Sequence[Mapping[str, str]]], int] | None = None

    def with_limit(self, request: Generate | Capture, *, n_context: int | None) -> Generate | Capture:
        """A chat request without a limit, limited to the rest of a context of ``n_context`` tokens."""
        if n_context is None or not isinstance(request, Generate) or self.count_chat is None:
            return request
        return replace(request, max_tokens=max(1, n_context - self.count_chat(request.messages or ())))

    def stats(self) -> dict[str, float]:
        """Gauges and counters for monitoring."""
        return {**self.engine.stats(), "prompt_fetches": self.prompts.n_fetched}
