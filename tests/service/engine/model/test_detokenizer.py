from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerFast

from service.engine.model.detokenizer import Detokenizer
from tests.service.engine.tokenizers import ALL, encode, encode_bytes


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
