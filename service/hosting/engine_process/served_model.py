"""A hosted model as the engine loop sees it: its engine and its card."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from service.engine.requests import Capture, Detokenize, Estimate, Event, Generate, Tokenize
from service.engine.statistics import EngineStatistics, RequestTimes
from service.hosting.engine_process.chat_limit import CountChat


class EngineLike(Protocol):
    """The part of an engine that the loop uses: one model, one continuous batch."""

    @property
    def has_work(self) -> bool: ...
    def submit(self, request: Generate | Capture, *, arrived_s: float | None = None) -> tuple[int, ...]: ...
    def cancel(self, request_id: str, *, has_failed: bool = False) -> None: ...
    def step(self) -> list[Event]: ...
    def estimate(self, request: Capture) -> Estimate: ...
    def tokenize(self, request: Tokenize) -> tuple[tuple[int, ...], ...]: ...
    def detokenize(self, request: Detokenize) -> str: ...
    def stats(self) -> Mapping[str, float]: ...
    def statistics(self) -> EngineStatistics: ...
    def watch(self, on_end: Callable[[RequestTimes], None]) -> None: ...


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """One engine and the fields of its model's card.

    count_chat: number of tokens of a chat, including the chat template; None for a model without one.
    """

    engine: EngineLike
    card: Mapping[str, Any]
    count_chat: CountChat | None = None
