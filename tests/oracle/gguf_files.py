"""Small Llama models and byte-level tokenizers, written as GGUF files with the writer of the package ``gguf``.

Names, metadata and the order of the rows of queries and keys are those of the format, not those of transformers' reader.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig

N_HEADS, N_KV_HEADS, D_HEAD, D_FF, N_LAYERS = 4, 2, 16, 96, 2
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_NORMAL, _CONTROL = 1, 3
_TEXTS = [
    "The quick brown fox jumps over the lazy dog, again and again.",
    "In 1984 there were 12345 words;  two spaces   three, and 7 lines\n\n  17 indented\n\t9",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.",
    "いろはにほへと ちりぬるを 👩‍👩‍👧‍👦 it's they're I'll don't 3.14159 == x1 + y22",
] * 4


def reference_tokenizer(*, digits: bool = True) -> Tokenizer:
    """A trained byte-level tokenizer as SmolLM's ``tokenizer.json`` defines it: single digits, then GPT-2's split."""
    tokenizer = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = (
        pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level]) if digits else byte_level
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TEXTS, trainer)
    return tokenizer


def small_llama(*, n_vocab: int, tied: bool = True) -> Any:
    """A frozen random float32 Llama whose rows are long enough for blocks of 32 weights."""
    config = LlamaConfig(
        vocab_size=n_vocab,
        hidden_size=N_HEADS * D_HEAD,
        intermediate_size=D_FF,
        num_hidden_layers=N_LAYERS,
        num_attention_heads=N_HEADS,
        num_key_value_heads=N_KV_HEADS,
        max_position_embeddings=256,
        rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
        tie_word_embeddings=tied,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
    )
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise / parameter.shape[-1] ** 0.5 if parameter.ndim == 2 else 1 + 0.2 * noise)
    return model.eval().requires_grad_(False)


def write_gguf(
    path: Path,
    *,
    model: Any,
    tokenizer: Tokenizer,
    quantisation: str = "F32",
    architecture: str = "llama",
    pre: str | None = "smollm",
    metadata: Mapping[str, str | int | bool] | None = None,
    edit: Callable[[dict[str, np.ndarray]], None] | None = None,
) -> None:
    """Write a model.

    Args:
        quantisation: of the matrices; vectors stay F32.
        pre: ``tokenizer.ggml.pre``; None: the file does not have it.
        metadata: more values; these replace nothing.
        edit: changes the tensors, before they are quantised.
    """
    writer = gguf.GGUFWriter(path, architecture)
    _add_sizes(writer, model.config)
    _add_tokenizer(writer, tokenizer, pre=pre)
    for key, value in (metadata or {}).items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        else:
            writer.add_string(key, value)
    tensors = gguf_tensors(model)
    if edit is not None:
        edit(tensors)
    for name, values in tensors.items():
        kind = gguf.GGMLQuantizationType[quantisation if values.ndim == 2 else "F32"]
        writer.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def gguf_tensors(model: Any) -> dict[str, np.ndarray]:
    """Weights by the names of the format. A GGUF Llama rotates neighbouring elements, transformers the halves of a head."""
    state = {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}
    found = {"token_embd.weight": state["model.embed_tokens.weight"], "output_norm.weight": state["model.norm.weight"]}
    if not model.config.tie_word_embeddings:
        found["output.weight"] = state["lm_head.weight"]
    names = {
        "attn_norm": "input_layernorm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_norm": "post_attention_layernorm",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    }
    for layer in range(model.config.num_hidden_layers):
        for short, long in names.items():
            values = state[f"model.layers.{layer}.{long}.weight"]
            if short in ("attn_q", "attn_k"):
                values = _interleaved(values)
            found[f"blk.{layer}.{short}.weight"] = values
    return found


def _interleaved(rows: np.ndarray) -> np.ndarray:
    """Rows of each head in the order 0, d/2, 1, d/2 + 1, …"""
    heads = rows.reshape(-1, D_HEAD, rows.shape[-1])
    order = np.stack([np.arange(D_HEAD // 2), np.arange(D_HEAD // 2) + D_HEAD // 2], axis=1).reshape(-1)
    return np.ascontiguousarray(heads[:, order].reshape(rows.shape))


def _add_sizes(writer: gguf.GGUFWriter, config: Any) -> None:
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_rope_dimension_count(D_HEAD)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)


def _add_tokenizer(writer: gguf.GGUFWriter, tokenizer: Tokenizer, *, pre: str | None) -> None:
    content = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(content["vocab"], key=content["vocab"].__getitem__)
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in content["merges"]]
    writer.add_tokenizer_model("gpt2")
    if pre is not None:
        writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([_CONTROL if token in SPECIAL else _NORMAL for token in tokens])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template(CHAT_TEMPLATE)
