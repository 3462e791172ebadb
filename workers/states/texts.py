"""Tokenization of texts and dataset examples for one model; marks the special tokens that the tokenizer adds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from service.engine.model.detokenizer import Detokenizer
from service.engine.model.hosted_model import HostedModel
from service.map_sources.texts import Text, TextParts, without_sink

if TYPE_CHECKING:
    from service.store.datasets.items import Example

MAX_TOKENS = 4096
"""Maximum number of tokens of a text that are read; the model's context may allow fewer."""


class Encoder:
    """Tokenizes for one model.

    If the model's first position is an attention sink and the tokenizer adds no token there, the text's first token is marked as
    not its own, so that it is read but is no point. The only token of a text remains its own.

    Args:
        n_virtual: positions of the context that a prompt takes.
    """

    def __init__(self, model: HostedModel, *, n_virtual: int = 0) -> None:
        self._tokenizer = model.tokenizer
        self._detokenizer = Detokenizer(model.tokenizer)
        self.skips_first = model.first_token_is_sink
        self.longest = max(1, min(MAX_TOKENS, model.n_positions - n_virtual))

    def texts(self, texts: Iterable[str]) -> Iterator[Text]:
        """Given texts, numbered from 0, truncated to ``longest`` tokens."""
        for index, text in enumerate(texts):
            yield self.encode(TextParts(begin=text, index=index))

    def examples(self, examples: Iterable[Example], *, include_target: bool = True) -> Iterator[Text]:
        """Examples as tuning reads them (:meth:`TextParts.of_example`), truncated to ``longest`` tokens."""
        for example in examples:
            yield self.encode(TextParts.of_example(example, include_target=include_target))

    def encode(self, parts: TextParts) -> Text:
        """One text, truncated to ``longest`` tokens."""
        ids, own = self._ids(parts.begin)
        if parts.end:
            more = tuple(self._tokenizer(parts.end, add_special_tokens=False)["input_ids"])
            ids, own = ids + more, own + (True,) * len(more)
        return parts.tokenized(ids, own=without_sink(own, is_sink=self.skips_first), max_tokens=self.longest)

    def token_text(self, token_id: int) -> str:
        """The text of one token inside a text, with its leading space."""
        return self._detokenizer.token_text(token_id)

    @property
    def n_tokens(self) -> int:
        """Number of tokens that texts can have; the model's embedding matrix may have more rows."""
        return len(self._tokenizer)

    @property
    def added(self) -> tuple[int, int]:
        """Number of tokens that the tokenizer adds before every text, and after it."""
        _, own = self._ids("a")
        first = next((i for i, flag in enumerate(own) if flag), len(own))
        behind = next((i for i, flag in enumerate(reversed(own)) if flag), 0)
        return first, behind

    def _ids(self, text: str) -> tuple[tuple[int, ...], tuple[bool, ...]]:
        found = self._tokenizer(text, return_special_tokens_mask=True)
        return tuple(found["input_ids"]), tuple(not flag for flag in found["special_tokens_mask"])
