"""Texts to read: their parts before tokenization, their tokens after it, and batches of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from service.store.datasets.items import Example
from service.store.maps.points import task_of


@dataclass(frozen=True, kw_only=True)
class TextParts:
    """One text before tokenization.

    begin, end: tokenized separately, as tuning tokenizes input and target; ``end`` without added special tokens.
    index: number of the text in its source; of a dataset's example the record's number. task: the record's label.
    input: the part before the target, where there is one.
    """

    begin: str
    end: str = ""
    index: int = 0
    split: str | None = None
    task: str | None = None
    input: str | None = None

    @classmethod
    def of_example(cls, example: Example, *, include_target: bool = True) -> TextParts:
        """An example as tuning reads it: running text, or input and target. Without ``include_target`` only the input."""
        return cls(
            begin=example.text if example.text is not None else example.input or "",
            end=(example.target or "") if include_target and example.text is None else "",
            index=example.index,
            split=example.split,
            task=task_of(example.record),
            input=example.input,
        )

    def tokenized(self, ids: tuple[int, ...], *, own: tuple[bool, ...], max_tokens: int | None = None) -> Text:
        """The text with its token ids, truncated to ``max_tokens``."""
        text = Text(
            ids=ids,
            own=own,
            text=self.begin + self.end,
            index=self.index,
            split=self.split,
            task=self.task,
            input=self.input,
        )
        return text if max_tokens is None else text.cut(max_tokens)


@dataclass(frozen=True, kw_only=True)
class Text:
    """One tokenized text.

    ids: all token ids. own: for each id whether it belongs to the text; the tokenizer added the others. The other fields are
    those of :class:`TextParts`.

    Added tokens (e.g. beginning of sequence) are read, because the states of later tokens depend on them, but they give no
    points: the state of a first token can have a hundred times the norm of all others.
    """

    ids: tuple[int, ...]
    own: tuple[bool, ...]
    text: str
    index: int
    split: str | None = None
    task: str | None = None
    input: str | None = None

    @property
    def n_own(self) -> int:
        """Number of tokens that belong to the text."""
        return sum(self.own)

    def cut(self, n: int) -> Text:
        """The first ``n`` tokens; ``text`` stays complete."""
        return self if len(self.ids) <= n else replace(self, ids=self.ids[:n], own=self.own[:n])


def without_sink(own: tuple[bool, ...], *, is_sink: bool) -> tuple[bool, ...]:
    """The marks of a text's tokens, without its first one if that is an attention sink. The only token of a text is kept."""
    return (False, *own[1:]) if is_sink and any(own[1:]) else own


@dataclass(frozen=True, kw_only=True)
class BatchLimits:
    """Size of a batch. max_tokens: exceeded only by a batch of a single text. max_texts: None for any number."""

    max_tokens: int
    max_texts: int | None = None


def n_tokens(text: Text) -> int:
    """Number of tokens of a text, added ones included."""
    return len(text.ids)


class Batcher:
    """Groups texts into batches, in order.

    Args:
        length: tokens that a text counts for.
    """

    def __init__(self, limits: BatchLimits, *, length: Callable[[Text], int] = n_tokens) -> None:
        self._limits = limits
        self._length = length
        self._batch: list[Text] = []
        self._n_tokens = 0

    def add(self, text: Text) -> list[Text]:
        """Add a text. Returns the batch before it if the text does not fit in, else an empty list."""
        length = self._length(text)
        complete = self.flush() if self._batch and not self._fits(length) else []
        self._batch.append(text)
        self._n_tokens += length
        return complete

    def flush(self) -> list[Text]:
        """The texts that are in no batch yet."""
        rest, self._batch, self._n_tokens = self._batch, [], 0
        return rest

    def _fits(self, length: int) -> bool:
        max_texts = self._limits.max_texts
        has_slot = max_texts is None or len(self._batch) < max_texts
        return has_slot and self._n_tokens + length <= self._limits.max_tokens


def batches(
    texts: Iterable[Text], *, limits: BatchLimits, length: Callable[[Text], int] = n_tokens
) -> Iterator[list[Text]]:
    """Texts in batches; see :class:`Batcher`."""
    batcher = Batcher(limits, length=length)
    for text in texts:
        if complete := batcher.add(text):
            yield complete
    if rest := batcher.flush():
        yield rest
