"""Encoding of examples as texts to read: input and target are tokenized separately, as in tuning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from service.map_sources.texts import Text, TextParts

if TYPE_CHECKING:
    from service.store.datasets.items import Example

Ids = tuple[int, ...]
Flags = tuple[bool, ...]


class TextEncoder:
    """Tokenizes examples in batches.

    Args:
        tokenizer: A tokenizer of transformers.
        include_target: Whether the target follows the input.
        max_tokens: Longer texts are cut; None: no limit.
    """

    def __init__(self, tokenizer: Any, *, include_target: bool, max_tokens: int | None) -> None:
        self._tokenizer = tokenizer
        self._include_target = include_target
        self._max_tokens = max_tokens

    def encode(self, examples: Sequence[Example]) -> list[Text]:
        """One text per example; a text may be empty."""
        parts = [TextParts.of_example(example, include_target=self._include_target) for example in examples]
        begins = encode_with_special_tokens(self._tokenizer, [text.begin for text in parts])
        ends = encode_without_special_tokens(self._tokenizer, [text.end for text in parts])
        return [
            text.tokenized(ids + more, own=own + (True,) * len(more), max_tokens=self._max_tokens)
            for text, (ids, own), more in zip(parts, begins, ends, strict=True)
        ]


def encode_with_special_tokens(tokenizer: Any, texts: Sequence[str]) -> list[tuple[Ids, Flags]]:
    """Ids of each text with special tokens, and for each id whether it belongs to the text itself."""
    if not texts:
        return []
    found = tokenizer(list(texts), return_special_tokens_mask=True)
    return [
        (tuple(ids), tuple(not flag for flag in mask))
        for ids, mask in zip(found["input_ids"], found["special_tokens_mask"], strict=True)
    ]


def encode_without_special_tokens(tokenizer: Any, texts: Sequence[str]) -> list[Ids]:
    """Ids of each text without special tokens."""
    nonempty = [text for text in texts if text]
    found = iter(tokenizer(nonempty, add_special_tokens=False)["input_ids"] if nonempty else ())
    return [tuple(next(found)) if text else () for text in texts]
