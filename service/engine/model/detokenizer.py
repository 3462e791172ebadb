"""Detokenizer: token ids to text."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerFast


class Detokenizer:
    """Texts of a tokenizer's tokens; create one per model.

    Ids outside the vocabulary have no text. Special tokens have none either, unless ``with_special`` is True.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, *, with_special: bool = False) -> None:
        self._with_special = with_special
        self._backend = tokenizer.backend_tokenizer
        added = self._backend.get_added_tokens_decoder()
        self._special_ids = frozenset(token_id for token_id, token in added.items() if token.special)
        self._n_ids = self._backend.get_vocab_size(with_added_tokens=True)
        self._anchor = self._find_anchor()
        self._texts: dict[int, str] = {}

    def is_text(self, token_id: int) -> bool:
        """Whether the token adds to the text."""
        if token_id in self._special_ids and not self._with_special:
            return False
        return self._backend.id_to_token(token_id) is not None

    def is_special(self, token_id: int) -> bool:
        """Whether the tokenizer marks the token as special."""
        return token_id in self._special_ids

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of a whole sequence."""
        return str(self._backend.decode(list(token_ids), skip_special_tokens=not self._with_special))

    def token_text(self, token_id: int) -> str:
        """The text of one token inside a text: with its leading space, and special tokens by name.

        Bytes that are no complete character give U+FFFD, an id outside the vocabulary gives an empty string.
        """
        if token_id not in self._texts:
            self._texts[token_id] = self._token_text(token_id)
        return self._texts[token_id]

    def _token_text(self, token_id: int) -> str:
        if token_id in self._special_ids:
            return str(self._backend.id_to_token(token_id))
        if self._anchor is not None:
            # Some decoders drop a space at the start of a text; none does after another token.
            before, both = self.decode([self._anchor]), self.decode([self._anchor, token_id])
            if both.startswith(before):
                return both[len(before) :]
        return self.decode([token_id])

    def _find_anchor(self) -> int | None:
        """A token of ASCII letters whose text is the same at every place."""
        for token_id in range(self._n_ids):
            if self.is_text(token_id) and token_id not in self._special_ids:
                text = self.decode([token_id])
                if text.isascii() and text.isalpha() and self.decode([token_id, token_id]).startswith(text):
                    return token_id
        return None
