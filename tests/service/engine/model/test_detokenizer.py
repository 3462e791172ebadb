from __future__ import annotations

import random

import pytest
from transformers import PreTrainedTokenizerFast

from service.engine.model.detokenizer import Detokenizer
from tests.service.engine.tokenizers import ALL, byte_fallback, encode, encode_bytes


@pytest.mark.parametrize("tokenizer", ALL, indirect=True)
def test_token_texts_join_to_the_text(tokenizer: PreTrainedTokenizerFast) -> None:
    detokenizer = Detokenizer(tokenizer)
    ids = encode(tokenizer, "the lazy dog again")
    texts = [detokenizer.token_text(token_id) for token_id in ids]
    assert "".join(texts).strip() == "the lazy dog again"
    assert "".join(texts[1:]) in "the lazy dog again"
    assert detokenizer.token_text(tokenizer.eos_token_id) == "</s>"
    assert detokenizer.token_text(len(tokenizer) + 3) == ""


def test_token_texts_of_parts_of_characters_are_replacements(byte_level: PreTrainedTokenizerFast) -> None:
    detokenizer = Detokenizer(byte_level)
    texts = [detokenizer.token_text(token_id) for token_id in encode_bytes(byte_level, "é".encode())]
    assert texts == ["\ufffd", "\ufffd"]


@pytest.mark.parametrize("tokenizer", ALL, indirect=True)
def test_token_bytes_join_to_the_bytes_of_the_text(tokenizer: PreTrainedTokenizerFast) -> None:
    detokenizer = Detokenizer(tokenizer)
    text = (
        "Mira é went 😀 jagen"
        if "metaspace" not in str(tokenizer.backend_tokenizer.decoder).lower()
        else "jagen the fox"
    )
    data = b"".join(detokenizer.token_bytes(token_id) for token_id in encode(tokenizer, text))
    assert data.removeprefix(b" ") == text.encode()


def test_bytes_of_byte_tokens_are_their_own(byte_level: PreTrainedTokenizerFast) -> None:
    detokenizer = Detokenizer(byte_level)
    single = {detokenizer.token_bytes(i) for token, i in byte_level.get_vocab().items() if len(token) == 1}
    assert single == {bytes([value]) for value in range(256)}
    fallback, vocab = Detokenizer(byte_fallback()), byte_fallback().get_vocab()
    assert [fallback.token_bytes(vocab[f"<0x{value:02X}>"]) for value in range(256)] == [
        bytes([value]) for value in range(256)
    ]
    assert detokenizer.token_bytes(byte_level.eos_token_id) == b"</s>"
    assert detokenizer.token_bytes(len(byte_level) + 3) == b""


def test_valid_byte_tokens_are_decoded_as_the_tokenizer_does() -> None:
    tokenizer, chance = byte_fallback(), random.Random(0)
    detokenizer = Detokenizer(tokenizer)
    for _ in range(50):
        ids = encode(tokenizer, "".join(chance.choice(["é", "€", "😀", "a", " ", "и"]) for _ in range(20)))
        assert detokenizer.decode(ids) == tokenizer.decode(ids)


def test_an_invalid_byte_replaces_no_character_next_to_it() -> None:
    tokenizer = byte_fallback()
    ids = [tokenizer.get_vocab()[f"<0x{value:02X}>"] for value in (0xC3, 0xA9, 0xFF, 0xE2, 0x82, 0x41)]
    assert Detokenizer(tokenizer).decode(ids) == "é\ufffd\ufffd\ufffdA"
