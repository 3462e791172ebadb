"""Text offsets: where each token of a row begins in the returned text."""

from __future__ import annotations

import codecs
from collections.abc import Sequence

from service.engine.model.detokenizer import Detokenizer
from service.engine.scheduling.text_stream import n_unfinished

N_CONTEXT = 8
"""Input tokens that are read when the input is not returned: they contain any incomplete character whole."""


class TextOffsets:
    """Counts the characters of one row's text, token by token.

    Special tokens have no text: their offset is that of the next token. All tokens of one character have its offset.

    Args:
        before: the tokens before the first one that is added. Their text is not returned.
    """

    def __init__(self, detokenizer: Detokenizer, *, before: Sequence[int] = ()) -> None:
        self._detokenizer = detokenizer
        self._n_characters = 0
        self._incomplete = b""
        self._is_empty = not any(map(detokenizer.is_text, before))
        for token_id in before[-N_CONTEXT:]:
            self.add(token_id)
        # The output repeats an incomplete character of the input.
        self.move_to(n_unfinished(detokenizer.decode(before[-N_CONTEXT:])))

    def move_to(self, n_characters: int) -> None:
        """Set the number of characters so far, with an incomplete character as it is decoded alone."""
        self._n_characters = n_characters - self._n_replacements

    def text_of(self, token_id: int) -> str:
        """The text that a token would have as the next one; some tokenizers drop the space at the start of a text."""
        if self._is_empty and self._detokenizer.is_text(token_id):
            return self._detokenizer.decode([token_id])
        return self._detokenizer.token_text(token_id)

    def add(self, token_id: int) -> int:
        """Count a token; returns its offset."""
        if not self._detokenizer.is_text(token_id):
            return self._n_characters
        text = self.text_of(token_id)
        self._is_empty = False
        if self._detokenizer.is_byte_level or self._detokenizer.is_byte(token_id):
            return self._add_bytes(self._detokenizer.token_bytes(token_id))
        self._end_character()
        offset = self._n_characters
        self._n_characters += len(text)
        return offset

    def _add_bytes(self, data: bytes) -> int:
        if not _continues(self._incomplete, data[:1]):
            self._end_character()
        offset = self._n_characters
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._n_characters += len(decoder.decode(self._incomplete + data))
        self._incomplete = decoder.getstate()[0]
        return offset

    def _end_character(self) -> None:
        self._n_characters += self._n_replacements
        self._incomplete = b""

    @property
    def _n_replacements(self) -> int:
        """Characters that replace the incomplete one: one for each byte with byte fallback, else one."""
        n_bytes = len(self._incomplete)
        return min(n_bytes, 1) if self._detokenizer.is_byte_level else n_bytes


def _continues(incomplete: bytes, following: bytes) -> bool:
    """Whether a byte is a possible next one of an incomplete character."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(incomplete + following)
    except UnicodeDecodeError:
        return False
    return True
