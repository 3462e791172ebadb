from __future__ import annotations

import random

import pytest
from transformers import PreTrainedTokenizerFast

from service.engine.model.detokenizer import Detokenizer
from service.engine.scheduling.text_offsets import TextOffsets
from service.engine.scheduling.text_stream import n_unfinished
from tests.service.engine.tokenizers import ALL, byte_fallback, encode, encode_bytes


def offsets_of(tokenizer: PreTrainedTokenizerFast, ids: list[int], before: list[int]) -> list[tuple[int, str]]:
    offsets = TextOffsets(Detokenizer(tokenizer), before=before)
    found = []
    for token_id in ids:
        text = offsets.text_of(token_id)
        found.append((offsets.add(token_id), text))
    return found


def test_offsets_of_a_text_with_a_character_of_two_tokens(byte_level: PreTrainedTokenizerFast) -> None:
    ids = [byte_level.bos_token_id, *encode_bytes(byte_level, "a é€b".encode())]
    assert [offset for offset, _ in offsets_of(byte_level, ids, [])] == [0, 0, 1, 2, 2, 3, 3, 3, 4]


def test_offsets_with_byte_fallback() -> None:
    tokenizer = byte_fallback()
    vocab = tokenizer.get_vocab()
    invalid = [vocab[f"<0x{value:02X}>"] for value in (0xC3, 0xA9, 0xE2, 0x82)]
    found = offsets_of(tokenizer, [vocab["▁the"], *invalid, vocab["▁fox"], vocab["a"]], [])
    # "theé\ufffd\ufffd foxa": the first space is dropped, and each invalid byte is one character.
    assert [offset for offset, _ in found] == [0, 3, 3, 4, 4, 6, 10]
    assert found[0][1] == "the"
    assert found[5][1] == " fox"


def test_a_character_that_starts_in_the_input_is_the_first_of_the_text(byte_level: PreTrainedTokenizerFast) -> None:
    ids = encode_bytes(byte_level, "a€bc".encode())
    assert [offset for offset, _ in offsets_of(byte_level, ids[2:], ids[:2])] == [0, 0, 1, 2]


@pytest.mark.parametrize("tokenizer", ALL, indirect=True)
def test_the_text_at_an_offset_starts_with_the_token(tokenizer: PreTrainedTokenizerFast) -> None:
    chance, detokenizer, n_whole = random.Random(4), Detokenizer(tokenizer), 0
    for n_tokens in (1, 2, 5, 30) * 40:
        ids = [chance.randrange(len(tokenizer) + 5) for _ in range(n_tokens)]
        before = [chance.randrange(len(tokenizer)) for _ in range(chance.choice([0, 1, 5, 40]))]
        text = detokenizer.decode(before + ids)
        given = detokenizer.decode(before)
        text = text[len(given) - n_unfinished(given) :]
        for token_id, (offset, token_text) in zip(ids, offsets_of(tokenizer, ids, before), strict=True):
            if detokenizer.is_text(token_id) and "\ufffd" not in token_text:
                assert text[offset:].startswith(token_text)
                n_whole += 1
        assert len(text) == 0 or offset < len(text) or not token_text or not detokenizer.is_text(token_id)
    assert n_whole > 300


@pytest.mark.parametrize("tokenizer", ALL, indirect=True)
def test_offsets_of_a_sentence_join_to_it(tokenizer: PreTrainedTokenizerFast) -> None:
    found = offsets_of(tokenizer, encode(tokenizer, "the lazy dog again"), [])
    assert "".join(text for _, text in found) == "the lazy dog again"
    assert [offset for offset, _ in found] == [sum(len(text) for _, text in found[:i]) for i in range(len(found))]
