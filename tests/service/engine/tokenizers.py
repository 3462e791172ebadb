"""Small trained tokenizers of the common kinds, with their decoders."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

SENTENCES = [
    "The quick brown fox jumps over the lazy dog, again and again.",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.",
    "Съешь ещё этих мягких французских булок, да выпей чаю.",
    "いろはにほへと ちりぬるを わかよたれそ つねならむ",
    "👩‍👩‍👧‍👦 families and 🇫🇷 flags, 😀😃😄 and  two  spaces\nand lines",
]
SPECIAL = ["<s>", "</s>"]


def wrapped(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    tokenizer.add_tokens([AddedToken("<tool>", special=False)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>")


@cache
def byte_level() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        SENTENCES,
        trainers.BpeTrainer(vocab_size=330, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False),
    )
    return wrapped(tokenizer)


@cache
def metaspace() -> PreTrainedTokenizerFast:
    """Like Unigram models of sentencepiece: the first word gets a leading space, which decoding drops."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(
        SENTENCES,
        trainers.UnigramTrainer(vocab_size=220, special_tokens=[*SPECIAL, "<unk>"], unk_token="<unk>"),
    )
    return wrapped(tokenizer)


@cache
def byte_fallback() -> PreTrainedTokenizerFast:
    """Like the tokenizers of Llama 1 and 2: characters outside the vocabulary become byte tokens."""
    tokens = [*SPECIAL, "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
    tokens += [*"abcdefghijklmnopqrstuvwxyzöü.", "▁the", "▁fox", "и", "る"]
    vocab = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return wrapped(tokenizer)


ALL = {"byte_level": byte_level, "metaspace": metaspace, "byte_fallback": byte_fallback}


def decode(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))


def encode(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def encode_bytes(tokenizer: PreTrainedTokenizerFast, data: bytes) -> list[int]:
    """One token per byte, with the byte-level alphabet."""
    vocab = tokenizer.get_vocab()
    split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return [vocab[char] for char in split.pre_tokenize_str(data.decode())[0][0]]


def decode_as_sentencepiece(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int]) -> str:
    """The text of a byte-fallback tokenizer's tokens, by sentencepiece's rule: each invalid byte is one U+FFFD."""
    special = {"<s>", "</s>"}
    pieces = [piece for piece in tokenizer.convert_ids_to_tokens(list(ids)) if piece is not None]
    data = b"".join(
        bytes([int(piece[3:5], 16)]) if piece.startswith("<0x") else piece.replace("▁", " ").encode() + b"\0"
        for piece in pieces
        if piece not in special
    )
    # A zero byte ends each whole piece, so that no character spans one; the vocabulary has no other use of it.
    text = ""
    while data:
        n = next((n for n in (1, 2, 3, 4) if _is_character(data[:n])), None)
        text += data[:n].decode() if n else "\ufffd"
        data = data[n or 1 :]
    return text.replace("\0", "").removeprefix(" ")


def _is_character(data: bytes) -> bool:
    try:
        return len(data.decode()) == 1
    except UnicodeDecodeError:
        return False


def without_zero_byte(tokenizer: PreTrainedTokenizerFast, ids: Sequence[int]) -> list[int]:
    zero = tokenizer.get_vocab()["<0x00>"]
    return [token_id for token_id in ids if token_id != zero]
