"""Log-probabilities in OpenAI's formats, of a small model with a token for each byte."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from service.completions.formats import CHAT, COMPLETION, Piece
from service.engine.engine import Engine
from service.engine.model.hosted_model import HostedModel
from service.engine.requests import Delta, Generate, Sampling, TokenLogprob
from tests.service.engine.small_engine import finish, with_limits
from tests.service.engine.tokenizers import byte_fallback

N_PADDED = 280
"""Rows of the embeddings; ids past the tokenizer's have no text."""


def tokenizer_of_bytes() -> PreTrainedTokenizerFast:
    """One token for each byte, and a BOS in front of each text."""
    vocab = {character: i for i, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE({**vocab, "<s>": 256, "</s>": 257}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 256)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


def engine_of(tokenizer: PreTrainedTokenizerFast, *, vocab_size: int) -> Engine:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.3,
        bos_token_id=None,
        eos_token_id=None,
    )
    return with_limits(HostedModel("m", LlamaForCausalLM(config).eval(), tokenizer, revision=""))


@pytest.fixture(scope="module")
def engine() -> Engine:
    return engine_of(tokenizer_of_bytes(), vocab_size=N_PADDED)


def run(engine: Engine, prompt: Any, **fields: Any) -> Piece:
    sampling = Sampling(temperature=1, seed=fields.pop("seed", 1))
    engine.submit(Generate(**{"request_id": "r", "inputs": (prompt,), "sampling": sampling, "logprobs": 0, **fields}))
    deltas = [event for event in finish(engine) if isinstance(event, Delta)]
    text = "".join(delta.text for delta in deltas)
    return Piece(index=0, text=text, logprobs=[token for delta in deltas for token in delta.logprobs])


def completion_of(piece: Piece) -> Any:
    return COMPLETION.choice(piece).model_dump()


def test_bytes_of_parts_of_characters_are_their_own(engine: Engine) -> None:
    piece = run(engine, "ab", max_tokens=60, logprobs=20)
    byte_of = dict(enumerate(byte_values()))
    n_parts = 0
    assert piece.logprobs is not None
    content = CHAT.choice(piece).model_dump()["logprobs"]["content"]
    for token, one in zip(piece.logprobs, content, strict=True):
        pairs = [(token.token_id, one), *zip((i for i, *_ in token.top), one["top_logprobs"], strict=True)]
        for token_id, entry in pairs:
            if token_id < 256:
                assert entry["bytes"] == [byte_of[token_id]]
                n_parts += byte_of[token_id] > 127
    assert n_parts > 50


def byte_values() -> list[int]:
    """The byte of each of the first 256 ids, by encoding every byte that a text can have."""
    characters = {character: i for i, character in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    found = {}
    for code in [*range(0x800), *range(0x800, 0xD800, 0x40), *range(0xE000, 0x110000, 0x400)]:
        for character, value in zip(split.pre_tokenize_str(chr(code))[0][0], chr(code).encode(), strict=True):
            found[characters[character]] = value
    impossible = sorted(
        {*range(256)} - set(found.values())
    )  # bytes that no UTF-8 has, in the order of their characters
    return [found[i] if i in found else impossible.pop(0) for i in range(256)]


def test_twenty_alternatives_have_twenty_names(engine: Engine) -> None:
    piece = run(engine, "abc", max_tokens=12, logprobs=20)
    assert piece.logprobs is not None
    found = completion_of(piece)["logprobs"]
    for token, name, alternatives in zip(piece.logprobs, found["tokens"], found["top_logprobs"], strict=True):
        ids = {token.token_id, *(i for i, *_ in token.top)}
        assert len(token.top) == 20
        assert len(alternatives) == len(ids)
        assert alternatives[name] == token.logprob
        assert sorted(alternatives.values())[-20:] == sorted(value for *_, value in token.top)
    for one in CHAT.choice(piece).model_dump()["logprobs"]["content"]:
        assert len({top["token"] for top in one["top_logprobs"]}) == 20


def test_names_of_parts_of_characters_are_their_bytes_and_of_others_their_ids() -> None:
    top = ((5, "a", -0.25), (6, "\ufffd", -0.5), (7, "\ufffd", -0.75), (8, "a", -1.0), (9, "", -2.0), (10, "", -3.0))
    partial = {6: b"\xc3", 7: b" \xe2\x82"}
    token = TokenLogprob(token_id=8, text="a", text_offset=0, logprob=-1.0, top=top, partial=partial)
    piece = Piece(index=0, text="a", logprobs=[token])
    found = completion_of(piece)["logprobs"]
    assert found["tokens"] == ["a"]
    expected = {"token_id:5": -0.25, "bytes:\\xc3": -0.5, "bytes: \\xe2\\x82": -0.75, "a": -1.0, "": -2.0}
    assert found["top_logprobs"] == [{**expected, "token_id:10": -3.0}]
    (one,) = CHAT.choice(piece).model_dump()["logprobs"]["content"]
    assert [top["bytes"] for top in one["top_logprobs"]] == [[97], [195], [32, 226, 130], [97], [], []]


def test_offsets_of_an_echoed_text_do_not_count_the_bos(engine: Engine) -> None:
    text = "Mira é went"
    found = completion_of(run(engine, text, max_tokens=0, echo=True))
    assert found["text"] == text
    assert found["logprobs"]["tokens"][:2] == ["<s>", "M"]
    assert found["logprobs"]["text_offset"] == [0, 0, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10]


@pytest.mark.parametrize("echo", [False, True])
@pytest.mark.parametrize("prompt", ["Mira é went", (256, 97, 226, 130)])
def test_the_text_at_an_offset_starts_with_the_token(engine: Engine, prompt: Any, echo: bool) -> None:
    assert sum(n_placed(run(engine, prompt, max_tokens=40, echo=echo, seed=seed)) for seed in range(8)) > 50


@pytest.mark.parametrize("echo", [False, True])
@pytest.mark.parametrize("stream", [False, True])
def test_offsets_with_byte_fallback_and_a_dropped_space(echo: bool, stream: bool) -> None:
    tokenizer = byte_fallback()
    engine = engine_of(tokenizer, vocab_size=len(tokenizer) + 7)
    pieces = [run(engine, "the fox é", max_tokens=40, echo=echo, stream=stream, seed=seed) for seed in range(8)]
    assert sum(map(n_placed, pieces)) > 50


def n_placed(piece: Piece) -> int:
    """The number of whole tokens, each of which the text has at its offset."""
    choice, tokens = completion_of(piece), piece.logprobs
    assert tokens is not None
    pairs = list(zip(tokens, choice["logprobs"]["text_offset"], strict=True))
    whole = [(token.text, offset) for token, offset in pairs if not token.partial and token.text not in ("<s>", "</s>")]
    for text, offset in whole:
        assert choice["text"][offset:].startswith(text)
    return len(whole)


def test_streamed_text_equals_the_text_not_streamed_with_byte_fallback() -> None:
    tokenizer = byte_fallback()
    engine = engine_of(tokenizer, vocab_size=len(tokenizer))
    texts = [
        [run(engine, "the fox", max_tokens=60, stream=stream, seed=seed).text for seed in range(8)]
        for stream in (False, True)
    ]
    assert texts[0] == texts[1]
    assert "\ufffd" in "".join(map(str, texts[0]))
