"""What a model reads for an item of a dataset: a context, then the item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from promptatlas.types.datasets import Template
from promptatlas.types.generation import Context, FieldContext, Shots

from service.engine.scheduling.chat_ids import chat_ids
from service.errors import InvalidRequest
from service.store.datasets.items import Example
from service.store.datasets.store import DatasetStore
from service.store.datasets.templates import field_text

Messages = tuple[dict[str, str], ...]


class Item(Protocol):
    """An item of a dataset. index, record: of its record."""

    @property
    def input(self) -> str | None: ...
    @property
    def index(self) -> int: ...
    @property
    def record(self) -> Mapping[str, Any]: ...


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

    @property
    def is_bare(self) -> bool:
        """Whether there is no context."""
        return self._context is None

    def has_context(self, example: Item) -> bool:
        """Whether the record of an item has the field that its context is in."""
        return not isinstance(self._context, FieldContext) or self._context.field in example.record

    def input_of(self, example: Item) -> str | Messages:
        """A text, or messages of a chat.

        Raises:
            InvalidRequest: the item has no context.
        """
        own, context = example.input or "", self._context
        if isinstance(context, list):
            turns = [{"role": turn.role, "content": turn.content} for turn in context]
            return (*turns, {"role": "user", "content": own})
        if isinstance(context, FieldContext):
            if not self.has_context(example):
                raise InvalidRequest(
                    f"Expected a field {context.field!r} in every record; record {example.index} has none."
                )
            given = field_text(example.record[context.field])
            if context.role is not None:
                return ({"role": context.role, "content": given}, {"role": "user", "content": own})
            return f"{given}{context.separator}{own}"
        return (self.front(besides=example.index) or "") + own

    def front(self, *, besides: int | None = None) -> str | None:
        """The text in front of every item; None if it differs between items, or if they are turns of a chat.

        Args:
            besides: number of the record that is not among the shots.
        """
        context = self._context
        if isinstance(context, list | FieldContext):
            return None
        if not isinstance(context, Shots):
            return context or ""
        others = [shot for shot in self._shots if shot.index != besides][: context.shots]
        return "".join(f"{shot.input}{shot.target}{context.separator}" for shot in others)


def framed_ids(tokenizer: Any, framed: str | Messages) -> tuple[int, ...]:
    """Token ids as the engine encodes the same text or messages."""
    if isinstance(framed, str):
        return tuple(tokenizer(framed)["input_ids"])
    return chat_ids(tokenizer, framed)


def front_ids(tokenizer: Any, framing: Framing) -> tuple[int, ...]:
    """Token ids of an empty item in its frame; none if there is no context, each item has its own, or a chat must have a text.

    The ids of every item in the frame begin with some of them: those of the context, except for a last token that is joined with
    the item's first characters.
    """
    nothing = _NoItem()
    if framing.is_bare or not framing.has_context(nothing):
        return ()
    try:
        return framed_ids(tokenizer, framing.input_of(nothing))
    except InvalidRequest:
        return ()


@dataclass(frozen=True)
class _NoItem:
    """An item without a text."""

    input: str | None = None
    index: int = -1
    record: Mapping[str, Any] = field(default_factory=dict)
