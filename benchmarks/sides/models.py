"""Random models of given sizes. Each call builds new modules with the same weights, so sides may modify theirs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast


@dataclass(frozen=True, kw_only=True)
class LlamaSize:
    """The size of a Llama with grouped-query attention. d_head: None means ``d_model / n_heads``."""

    d_model: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_mlp: int
    n_vocab: int
    n_positions: int = 1024
    d_head: int | None = None

    @property
    def middle_layer(self) -> int:
        """Index of the block in the middle; counted from 0, so that one block more than half of them must run."""
        return self.n_layers // 2

    def __str__(self) -> str:
        return (
            f"Llama, hidden {self.d_model} × {self.n_layers} layers, {self.n_heads}/{self.n_kv_heads} heads, "
            f"intermediate {self.d_mlp}, vocabulary {self.n_vocab:,}"
        )


SHARP = 8.0
"""Sharpness at which a teacher's top tokens have much of the probability, as those of a trained model."""

COMPLETING = LlamaSize(d_model=512, n_layers=8, n_heads=8, n_kv_heads=4, d_mlp=1408, n_vocab=8_000)
COMPLETING_QUICK = LlamaSize(d_model=128, n_layers=4, n_heads=8, n_kv_heads=4, d_mlp=352, n_vocab=1_000)


def build_llama(size: LlamaSize, *, seed: int = 0, sharpness: float = 1.0) -> Any:
    """A frozen random float32 Llama that never ends a text, under transformers' default attention.

    sharpness: factor of its logits, which otherwise are almost equal for all tokens.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = LlamaForCausalLM(llama_config(size))
    with torch.no_grad():
        module.lm_head.weight.mul_(sharpness)
    return module.eval().requires_grad_(False)


def llama_config(size: LlamaSize) -> LlamaConfig:
    """Its configuration, without tokens that end a text."""
    return LlamaConfig(
        hidden_size=size.d_model,
        num_hidden_layers=size.n_layers,
        num_attention_heads=size.n_heads,
        num_key_value_heads=size.n_kv_heads,
        intermediate_size=size.d_mlp,
        vocab_size=size.n_vocab,
        max_position_embeddings=size.n_positions,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
        head_dim=size.d_head or size.d_model // size.n_heads,
    )


def build_tokenizer(n_vocab: int) -> PreTrainedTokenizerFast:
    """Tokenizer with words w0, w1, … of one token each, so that texts correspond to token ids."""
    tokenizer = Tokenizer(models.WordLevel({f"w{i}": i for i in range(n_vocab)}, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def ids_of_text(text: str) -> tuple[int, ...]:
    """Token ids of a text of these words."""
    return tuple(int(word.removeprefix("w")) for word in text.split())


def save_llama(size: LlamaSize, folder: Path, *, seed: int = 0) -> None:
    """Write the model and its tokenizer as a directory that the service loads."""
    build_llama(size, seed=seed).save_pretrained(folder)
    build_tokenizer(size.n_vocab).save_pretrained(folder)
