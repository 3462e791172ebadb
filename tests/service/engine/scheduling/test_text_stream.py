from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from transformers import PreTrainedTokenizerFast

from service.engine.model.detokenizer import Detokenizer
from service.engine.scheduling.text_stream import N_WINDOW, TextStream, n_unfinished
from tests.service.engine.tokenizers import (
    ALL,
    SENTENCES,
    byte_fallback,
    decode,
    decode_as_sentencepiece,
    encode,
    encode_bytes,
    without_zero_byte,
)


def streamed(stream: TextStream, ids: Sequence[int]) -> list[str]:
    return [*(stream.push(token_id) for token_id in ids), stream.finish()]


@pytest.mark.parametrize("tokenizer", ALL, indirect=True)
def test_text_of_sentences_is_the_decoded_text(tokenizer: PreTrainedTokenizerFast) -> None:
    for text in [*SENTENCES, " ".join(SENTENCES), "😀" * 50, "a" * 100, " " * 40 + "x"]:
        ids = encode(tokenizer, text)
        stream = TextStream(tokenizer)
        pieces = streamed(stream, ids)
        assert "".join(pieces) == stream.text == decode(tokenizer, ids)
        # The text is sent during generation, not at the end.
        assert len(pieces[-1]) <= 3


@pytest.mark.parametrize("tokenizer", ["byte_level", "metaspace"], indirect=True)
@pytest.mark.parametrize("n_tokens", [1, 3, N_WINDOW, 200])
def test_text_of_random_tokens_is_the_decoded_text(tokenizer: PreTrainedTokenizerFast, n_tokens: int) -> None:
    chance = random.Random(n_tokens)
    for _ in range(150):
        # Models also have ids outside the tokenizer's vocabulary.
        ids = [chance.randrange(len(tokenizer) + 5) for _ in range(n_tokens)]
        given = [chance.randrange(len(tokenizer)) for _ in range(chance.choice([0, 1, 5, 40]))]
        before = decode(tokenizer, given)
        expected = decode(tokenizer, given + ids)[len(before) - n_unfinished(before) :]
        assert "".join(streamed(TextStream(tokenizer, input_ids=given), ids)) == expected


@pytest.mark.parametrize("n_tokens", [1, 3, N_WINDOW, 200])
@pytest.mark.parametrize("only_bytes", [False, True])
def test_text_of_random_tokens_with_byte_fallback_is_sentencepieces(n_tokens: int, only_bytes: bool) -> None:
    tokenizer = byte_fallback()
    chance = random.Random(n_tokens)
    alphabet = encode(tokenizer, "é€😀") if only_bytes else range(len(tokenizer) + 5)
    for _ in range(100):
        ids = without_zero_byte(tokenizer, [chance.choice(alphabet) for _ in range(n_tokens)])
        given = without_zero_byte(tokenizer, [chance.choice(alphabet) for _ in range(chance.choice([0, 1, 5, 40]))])
        before = decode_as_sentencepiece(tokenizer, given)
        expected = decode_as_sentencepiece(tokenizer, given + ids)[len(before) - n_unfinished(before) :]
        assert "".join(streamed(TextStream(tokenizer, input_ids=given), ids)) == expected


@pytest.mark.parametrize("tokenizer", ALL, indirect=True)
def test_streamed_text_equals_text_that_is_decoded_at_the_end(tokenizer: PreTrainedTokenizerFast) -> None:
    chance = random.Random(7)
    for n_tokens in (1, 2, 5, 30, 120) * 40:
        ids = [chance.randrange(len(tokenizer) + 5) for _ in range(n_tokens)]
        given = [chance.randrange(len(tokenizer)) for _ in range(chance.choice([0, 1, 5, 40]))]
        at_once = TextStream(tokenizer, input_ids=given)
        at_once.extend(ids)
        assert "".join(streamed(TextStream(tokenizer, input_ids=given), ids)) == at_once.finish()


@pytest.mark.parametrize("tokenizer", ["byte_level"], indirect=True)
def test_text_of_random_bytes_is_the_decoded_text(tokenizer: PreTrainedTokenizerFast) -> None:
    chance = random.Random(1)
    single = [token_id for token, token_id in tokenizer.get_vocab().items() if len(token) == 1]
    assert len(single) == 256
    for alphabet in (single, encode_bytes(tokenizer, "é€😀".encode())):
        for _ in range(100):
            ids = [chance.choice(alphabet) for _ in range(150)]
            assert "".join(streamed(TextStream(tokenizer), ids)) == decode(tokenizer, ids)


@pytest.mark.parametrize("tokenizer", ["byte_fallback"], indirect=True)
def test_text_of_random_characters_in_byte_tokens_is_the_decoded_text(tokenizer: PreTrainedTokenizerFast) -> None:
    chance = random.Random(2)
    characters = ["a", " ", "the", " fox", "é", "€", "😀", "и", "👩‍👩‍👧‍👦", "\n"]
    for _ in range(150):
        ids = encode(tokenizer, "".join(chance.choice(characters) for _ in range(60)))
        pieces = streamed(TextStream(tokenizer), ids)
        assert "".join(pieces) == decode(tokenizer, ids)
        assert "\ufffd" not in "".join(pieces)


@pytest.mark.parametrize("tokenizer", ["byte_fallback"], indirect=True)
def test_invalid_bytes_do_not_stop_the_stream(tokenizer: PreTrainedTokenizerFast) -> None:
    vocab = tokenizer.get_vocab()
    e_acute = [vocab["<0xC3>"], vocab["<0xA9>"]]
    ids = [*e_acute, vocab["<0xFF>"], *encode(tokenizer, "abcdefgh")]
    stream = TextStream(tokenizer)
    pieces = streamed(stream, ids)
    assert "".join(pieces) == "é\ufffd abcdefgh"
    assert pieces[-1] == ""


@pytest.mark.parametrize("tokenizer", ALL, indirect=True)
def test_no_unfinished_character_is_sent(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = encode(tokenizer, "x😀y€z")
    stream = TextStream(tokenizer)
    for token_id in ids:
        assert "\ufffd" not in stream.push(token_id)
    assert stream.finish() == ""


def test_each_character_is_sent_with_its_last_byte(byte_level: PreTrainedTokenizerFast) -> None:
    stream = TextStream(byte_level)
    pieces = [stream.push(token_id) for token_id in encode_bytes(byte_level, "é€😀a".encode())]
    assert pieces == ["", "é", "", "", "€", "", "", "", "😀", "a"]


def test_a_character_cut_by_the_end_is_sent_as_decoding_writes_it(byte_level: PreTrainedTokenizerFast) -> None:
    stream = TextStream(byte_level)
    ids = encode_bytes(byte_level, "a😀".encode())[:-1]
    assert streamed(stream, ids) == ["a", "", "", "", "\ufffd"]
    assert stream.text == decode(byte_level, ids)


def test_a_character_that_starts_in_the_input_is_completed(byte_level: PreTrainedTokenizerFast) -> None:
    ids = encode_bytes(byte_level, "a€b".encode())
    assert streamed(TextStream(byte_level, input_ids=ids[:2]), ids[2:]) == ["", "€", "b", ""]


@pytest.mark.parametrize("tokenizer", ["metaspace", "byte_fallback"], indirect=True)
def test_the_first_space_depends_on_the_input(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = encode(tokenizer, "the fox")
    assert "".join(streamed(TextStream(tokenizer), ids)) == "the fox"
    assert "".join(streamed(TextStream(tokenizer, input_ids=encode(tokenizer, "see")), ids)) == " the fox"
    # A special token has no text, so that the text still starts with "the".
    assert "".join(streamed(TextStream(tokenizer, input_ids=[tokenizer.bos_token_id]), ids)) == "the fox"


@pytest.mark.parametrize("tokenizer", ALL, indirect=True)
def test_special_tokens_have_no_text_and_other_added_tokens_do(tokenizer: PreTrainedTokenizerFast) -> None:
    a, b = encode(tokenizer, "a")[-1], encode(tokenizer, "b")[-1]
    tool, eos = tokenizer.convert_tokens_to_ids(["<tool>", "</s>"])
    ids = [a, eos, eos, b, eos, tool, *[eos] * 3 * N_WINDOW, b]
    text = "".join(streamed(TextStream(tokenizer), ids))
    assert text == decode(tokenizer, ids)
    assert "<tool>" in text
    assert "</s>" not in text


def stop_after(tokenizer: PreTrainedTokenizerFast, text: str, stop: tuple[str, ...]) -> tuple[str, list[str], bool]:
    stream = TextStream(tokenizer, stop=stop)
    pieces = []
    for token_id in encode(tokenizer, text):
        pieces.append(stream.push(token_id))
        if stream.stopped:
            break
    pieces.append(stream.finish())
    assert stream.text == "".join(pieces)
    return stream.text, pieces, stream.stopped


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("abc\n\ndef", ("\n\n",), "abc"),
        ("abcdef", ("cde",), "ab"),
        ("abcdef", ("f",), "abcde"),
        ("abcdef", ("abc",), ""),
        ("aaab", ("aab",), "a"),
        ("ababac", ("abac",), "ab"),
        ("xabcd", ("abcd", "bc"), "xa"),
        ("xabc", ("bc", "abc"), "x"),
        ("the lazy dog, again", ("dog, ag", "cat"), "the lazy "),
        ("a😀b😃c", ("😃",), "a😀b"),
        ("a😀b", ("😀b",), "a"),
    ],
)
def test_text_ends_before_the_stop_string_completed_first(
    byte_level: PreTrainedTokenizerFast, text: str, stop: tuple[str, ...], expected: str
) -> None:
    # For both segmentations of the text: by the tokenizer, and one token per byte.
    assert stop_after(byte_level, text, stop)[0::2] == (expected, True)
    stream = TextStream(byte_level, stop=stop)
    for token_id in encode_bytes(byte_level, text.encode()):
        stream.push(token_id)
    assert stream.finish() == ""
    assert (stream.text, stream.stopped) == (expected, True)


def test_a_stop_string_inside_a_token_is_found(byte_level: PreTrainedTokenizerFast) -> None:
    ids = encode(byte_level, "over the")
    assert any("he" in Detokenizer(byte_level).token_text(token_id).strip() for token_id in ids)
    assert stop_after(byte_level, "over the", ("h",))[0] == "over t"


def test_only_a_possible_stop_string_is_held_back(byte_level: PreTrainedTokenizerFast) -> None:
    stream = TextStream(byte_level, stop=("STOP",))
    pieces = [stream.push(token_id) for token_id in encode_bytes(byte_level, b"aSTSTO.b")]
    assert pieces == ["a", "", "", "ST", "", "", "STO.", "b"]


def test_held_text_is_sent_at_the_end_without_a_stop_string(byte_level: PreTrainedTokenizerFast) -> None:
    text, pieces, stopped = stop_after(byte_level, "abc ST", ("STOP",))
    assert (text, pieces[-1], stopped) == ("abc ST", "ST", False)


def test_a_replacement_character_completes_a_stop_string_at_the_end(byte_level: PreTrainedTokenizerFast) -> None:
    stream = TextStream(byte_level, stop=("b\ufffd",))
    for token_id in encode_bytes(byte_level, "ab€".encode())[:-1]:
        stream.push(token_id)
    assert (stream.finish(), stream.text, stream.stopped) == ("", "a", True)


def test_nothing_is_sent_after_a_stop_string(byte_level: PreTrainedTokenizerFast) -> None:
    stream = TextStream(byte_level, stop=("b",))
    pieces = streamed(stream, encode_bytes(byte_level, b"abcd"))
    assert (pieces, stream.stopped) == (["a", "", "", "", ""], True)


def test_a_stop_string_in_the_input_does_not_stop_the_output(byte_level: PreTrainedTokenizerFast) -> None:
    ids = encode_bytes(byte_level, b"STOPx")
    stream = TextStream(byte_level, stop=("STOP", "Px"), input_ids=ids[:4])
    assert streamed(stream, ids[4:]) == ["x", ""]
    assert not stream.stopped


def test_a_long_text_is_decoded_in_short_windows(byte_level: PreTrainedTokenizerFast) -> None:
    longest = 0

    class Watched(Detokenizer):
        def decode(self, token_ids: Sequence[int]) -> str:
            nonlocal longest
            longest = max(longest, len(token_ids))
            return super().decode(token_ids)

    chance = random.Random(3)
    sentences = encode(byte_level, " ".join(SENTENCES) * 5)
    noise = [chance.randrange(len(byte_level)) for _ in range(600)]
    continuation = [encode_bytes(byte_level, "é".encode())[1]] * 300
    for ids in (sentences, noise, continuation):
        streamed(TextStream(Watched(byte_level), input_ids=ids), ids)
    assert longest <= 2 * N_WINDOW
