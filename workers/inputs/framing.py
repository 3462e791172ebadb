"""What a model reads for an item of a dataset: a context, then the item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from promptatlas.types.datasets import Template
from promptatlas.types.generation import Context, Shots

from service.engine.scheduling.chat_ids import chat_ids
from service.store.datasets.items import Example
from service.store.datasets.store import DatasetStore

Messages = tuple[dict[str, str], ...]


class Item(Protocol):
    """An item of a dataset. index: of its record."""

    @property
    def input(self) -> str | None: ...
    @property
    def index(self) -> int: ...


class Framing:
    """Puts a context in front of items.

    Args:
        shots: examples for a context of shots, one more than each item gets.
    """

    def __init__(self, context: Context | None, *, shots: Sequence[Example] = ()) -> None:
        self._context = context
        self._shots = shots

    @classmethod
    def of(
        cls, context: Context | None, *, datasets: DatasetStore, dataset: str, seed: int, template: Template | None
    ) -> Framing:
        """Read the examples that a context of shots needs from ``dataset``."""
        if not isinstance(context, Shots):
            return cls(context)
        chosen = datasets.examples(dataset, split=context.split, n=context.shots + 1, seed=seed, template=template)
        return cls(context, shots=list(chosen))

    def input_of(self, example: Item) -> str | Messages:
        """A text, or messages of a chat."""
        own = example.input or ""
        context = self._context
        if context is None:
            return own
        if isinstance(context, str):
            return context + own
        if isinstance(context, Shots):
            others = [shot for shot in self._shots if shot.index != example.index][: context.shots]
            shots = (f"{shot.input}{shot.target}{context.separator}" for shot in others)
            return "".join(shots) + own
        turns = [{"role": turn.role, "content": turn.content} for turn in context]
        return (*turns, {"role": "user", "content": own})


def framed_ids(tokenizer: Any, framed: str | Messages) -> tuple[int, ...]:
    """Token ids as the engine encodes the same text or messages."""
    if isinstance(framed, str):
        return tuple(tokenizer(framed)["input_ids"])
    return chat_ids(tokenizer, framed)
