"""Requests of the engine loop: those that run, and those whose prompts are being fetched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.errors import AtlasError
from service.hosting.ipc.messages import EstimateCost, ExportPrompt, Submit

if TYPE_CHECKING:
    from service.engine.prompts.prompt import Prompt

Prompted = Submit | EstimateCost | ExportPrompt
"""Messages whose request may have a prompt."""


@dataclass(kw_only=True)
class Pending:
    """A request in the engine. n_input: number of tokens of each input; None after the first reply, which contains it."""

    connection_id: int
    model: str
    metadata: Mapping[str, Any]
    n_input: tuple[int, ...] | None


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """The contents that a message needs have been fetched, or an error. at_s: when the message arrived."""

    message: Prompted
    at_s: float
    outcome: Mapping[str, Prompt] | AtlasError
