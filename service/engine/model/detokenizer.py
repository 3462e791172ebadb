"""Detokenizer: token ids to text and to bytes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from transformers import PreTrainedTokenizerFast

REPLACEMENT = "\ufffd"
"""What a decoder writes for bytes that are no complete character."""


class Detokenizer:
    """Texts of a tokenizer's tokens; create one per model.

    Ids outside the vocabulary have no text. Special tokens have none either, unless ``with_special`` is True.

    With byte fallback, the tokenizers library replaces a whole run of byte tokens if it contains an invalid byte. This class
    replaces the invalid bytes alone, as sentencepiece does, so that no later token changes a complete character.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerFast, *, with_special: bool = False) -> None:
        self._with_special = with_special
        self._backend = tokenizer.backend_tokenizer
        added = self._backend.get_added_tokens_decoder()
        self._special_ids = frozenset(token_id for token_id, token in added.items() if token.special)
        self._n_ids = self._backend.get_vocab_size(with_added_tokens=True)
        decoders = frozenset(_decoder_types(self._backend))
        self.is_byte_level = "ByteLevel" in decoders
        self._byte_values = self._find_byte_tokens() if "ByteFallback" in decoders else {}
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

    def is_byte(self, token_id: int) -> bool:
        """Whether the token is one byte, of a tokenizer with byte fallback."""
        return token_id in self._byte_values

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of a whole sequence."""
        text = str(self._backend.decode(list(token_ids), skip_special_tokens=not self._with_special))
        if REPLACEMENT in text and self._byte_values:
            return self._decode_with_invalid_bytes(token_ids)
        return text

    def token_text(self, token_id: int) -> str:
        """The text of one token inside a text: with its leading space, and special tokens by name.

        Bytes that are no complete character give U+FFFD, an id outside the vocabulary gives an empty string.
        """
        if token_id not in self._texts:
            self._texts[token_id] = self._token_text(token_id)
        return self._texts[token_id]

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of one token inside a text; unlike its text, those of a part of a character too."""
        text = self.token_text(token_id)
        if REPLACEMENT in text:
            if token_id in self._byte_values:
                return bytes([self._byte_values[token_id]])
            token = str(self._backend.id_to_token(token_id))
            if self.is_byte_level and all(character in _BYTES_OF_CHARACTERS for character in token):
                return bytes(_BYTES_OF_CHARACTERS[character] for character in token)
        return text.encode()

    def _token_text(self, token_id: int) -> str:
        if token_id in self._special_ids:
            return str(self._backend.id_to_token(token_id))
        if self._anchor is not None:
            # Some decoders drop a space at the start of a text; none does after another token.
            before, both = self.decode([self._anchor]), self.decode([self._anchor, token_id])
            if both.startswith(before):
                return both[len(before) :]
        return self.decode([token_id])

    def _decode_with_invalid_bytes(self, token_ids: Sequence[int]) -> str:
        """Decode with each invalid byte token replaced by a token U+FFFD, which ends the runs beside it."""
        text_ids = [token_id for token_id in token_ids if self.is_text(token_id)]
        tokens = [str(self._backend.id_to_token(token_id)) for token_id in text_ids]
        for start, run in self._byte_runs(text_ids):
            for i in _invalid_bytes(run):
                tokens[start + i] = REPLACEMENT
        return str(self._backend.decoder.decode(tokens))

    def _byte_runs(self, token_ids: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        """The maximal runs of byte tokens: the index of the first one, and their bytes."""
        run = bytearray()
        for i, token_id in enumerate(token_ids):
            if token_id in self._byte_values:
                run.append(self._byte_values[token_id])
            elif run:
                yield i - len(run), bytes(run)
                run.clear()
        if run:
            yield len(token_ids) - len(run), bytes(run)

    def _find_byte_tokens(self) -> dict[int, int]:
        """Token ids of the bytes that the vocabulary has."""
        found = ((self._backend.token_to_id(f"<0x{value:02X}>"), value) for value in range(256))
        return {token_id: value for token_id, value in found if token_id is not None}

    def _find_anchor(self) -> int | None:
        """A token of ASCII letters whose text is the same at every place."""
        for token_id in range(self._n_ids):
            if self.is_text(token_id) and token_id not in self._special_ids:
                text = self.decode([token_id])
                if text.isascii() and text.isalpha() and self.decode([token_id, token_id]).startswith(text):
                    return token_id
        return None


def _decoder_types(backend: object) -> Iterator[str]:
    """Types of the tokenizer's decoder and of the decoders inside it."""
    decoder = getattr(backend, "decoder", None)
    if decoder is None:
        return
    pending = [json.loads(decoder.__getstate__())]
    while pending:
        state = pending.pop()
        yield str(state.get("type"))
        pending += state.get("decoders", ())


def _invalid_bytes(data: bytes) -> Iterator[int]:
    """Indices of the bytes that belong to no complete character."""
    start = 0
    while (found := _first_invalid(data[start:])) is not None:
        yield from range(start + found.start, start + found.end)
        start += found.end


def _first_invalid(data: bytes) -> UnicodeDecodeError | None:
    try:
        data.decode()
    except UnicodeDecodeError as error:
        return error
    return None


def _byte_characters() -> Iterator[tuple[str, int]]:
    """The characters by which byte-level BPE writes bytes (GPT-2): printable ones are themselves, others follow U+0100."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [value for value in range(256) if value not in printable]
    yield from ((chr(value), value) for value in sorted(printable))
    yield from ((chr(0x100 + i), value) for i, value in enumerate(others))


_BYTES_OF_CHARACTERS = dict(_byte_characters())
