"""The tokenizer of a GGUF file.

transformers builds it, but splits the text of byte-level vocabularies it does not know like GPT-2, and tokens differ: SmolLM
splits off every digit first. The names of pre-tokenizers (``tokenizer.ggml.pre``) and what they mean are those of
``llama-vocab.cpp`` in llama.cpp. A name that is not listed here is refused, since its tokens would be silently different.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from tokenizers import Tokenizer, pre_tokenizers
from transformers import AutoTokenizer

from service.engine.model.files.gguf_header import GgufHeader
from service.errors import UnsupportedModel

_LIKE_GPT2: Final = frozenset(
    {"gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "granite-docling", "exaone4", "gigachat", "a.x-4.0", "mellum"}
)
_DIGITS_THEN_GPT2: Final = frozenset(
    {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"}
)
_WHOLE_WORDS_FIRST: Final = frozenset(
    {"llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano", "tekken"}
)
"""A word of the vocabulary is one token even where its merges do not lead to it, and texts begin with BOS by default."""


def gguf_tokenizer(file: Path, header: GgufHeader, *, label: str) -> Any:
    """The fast tokenizer of the file, with its special tokens and chat template.

    Raises:
        UnsupportedModel: the file does not say how its text is split, or in a way that is not supported.
    """
    kind, pre = header.values.get("tokenizer.ggml.model"), header.values.get("tokenizer.ggml.pre")
    if kind == "gpt2":
        _check_pre_tokenizer(pre, label=label)
    options: dict[str, Any] = {}
    if pre in _WHOLE_WORDS_FIRST and "tokenizer.ggml.add_bos_token" not in header.values:
        options["add_bos_token"] = True
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name, **options)
    tokenizer._tokenizer = _corrected(
        tokenizer.backend_tokenizer,
        pre=pre if kind == "gpt2" else None,
        n_tokens=header.values["tokenizer.ggml.tokens"],
    )
    return tokenizer


def _check_pre_tokenizer(pre: object, *, label: str) -> None:
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    known = {*GGUF_PRE_TOKENIZER_SPLITS, *_LIKE_GPT2, *_DIGITS_THEN_GPT2}
    if pre not in known:
        raise UnsupportedModel(
            f"{label}: expected a pre-tokenizer (tokenizer.ggml.pre) among {', '.join(sorted(known))}, got "
            f"{'none' if pre is None else repr(pre)}."
        )


def _corrected(backend: Tokenizer, *, pre: str | None, n_tokens: int) -> Tokenizer:
    if pre in _DIGITS_THEN_GPT2:
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    content = json.loads(backend.to_str())
    if pre in _WHOLE_WORDS_FIRST:
        content["model"]["ignore_merges"] = True
    # transformers adds default special tokens such as <|endoftext|> to vocabularies without them; the model has no
    # embeddings for these.
    content["added_tokens"] = [token for token in content["added_tokens"] if token["id"] < n_tokens]
    return Tokenizer.from_str(json.dumps(content))
