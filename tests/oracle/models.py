"""Small random models of many architectures, and the names of their modules. Independent of the engine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

N_VOCAB = 97
N_LAYERS = 3
WINDOW = 7
"""Of sliding attention: shorter than most texts of the tests, so that it has an effect."""

EOS = 1


@dataclass(frozen=True)
class Parts:
    """Module names inside a transformers causal model."""

    blocks: str = "model.layers"
    attention: str = "self_attn"
    mlp: str = "mlp"
    norm: str = "model.norm"
    inner: str = "mlp.down_proj"
    """A module inside a block whose output has one row per token."""


@dataclass(frozen=True)
class Architecture:
    """A model type, the configuration of its small version, and its parts."""

    model_type: str
    config: Mapping[str, Any]
    parts: Parts = Parts()
    seed: int = 0
    """Of the weights; chosen so that greedy tokens of the tests have a margin, and some texts end before their limit."""


_COMMON = {
    "vocab_size": N_VOCAB,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "bos_token_id": None,
    "eos_token_id": EOS,
    "pad_token_id": None,
}
_GROUPED = {**_COMMON, "num_key_value_heads": 2, "hidden_size": 56, "intermediate_size": 74}
_OWN_HEAD = {**_COMMON, "num_key_value_heads": 2, "hidden_size": 52, "intermediate_size": 74, "head_dim": 14}
_MIXED_WINDOWS = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}

ARCHITECTURES: Mapping[str, Architecture] = {
    "llama": Architecture("llama", _GROUPED),
    "gpt2": Architecture(
        "gpt2",
        {
            "vocab_size": N_VOCAB,
            "n_layer": N_LAYERS,
            "n_head": 4,
            "n_embd": 44,
            "n_positions": 128,
            "bos_token_id": None,
            "eos_token_id": EOS,
            "tie_word_embeddings": False,
        },
        Parts("transformer.h", "attn", "mlp", "transformer.ln_f", "mlp.c_fc"),
        seed=4,
    ),
    "qwen3": Architecture("qwen3", _OWN_HEAD),
    "gemma3": Architecture(
        "gemma3_text",
        {
            **_OWN_HEAD,
            **_MIXED_WINDOWS,
            "query_pre_attn_scalar": 11,
            "tie_word_embeddings": False,
            "rope_parameters": {
                "full_attention": {"rope_type": "default", "rope_theta": 10_000.0},
                "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
            },
        },
        seed=1,
    ),
    "mistral": Architecture("mistral", {**_GROUPED, "head_dim": 10, "sliding_window": WINDOW}, seed=2),
    "qwen2": Architecture("qwen2", {**_GROUPED, "tie_word_embeddings": True}),
    "gemma2": Architecture(
        "gemma2",
        {
            **_OWN_HEAD,
            **_MIXED_WINDOWS,
            "query_pre_attn_scalar": 11,
            "tie_word_embeddings": False,
            "attn_logit_softcapping": 1.5,
            "final_logit_softcapping": 5.0,
        },
    ),
    "gpt_neox": Architecture(
        "gpt_neox",
        {**_COMMON, "hidden_size": 64, "intermediate_size": 74, "rotary_pct": 0.25},
        Parts("gpt_neox.layers", "attention", "mlp", "gpt_neox.final_layer_norm", "mlp.dense_4h_to_h"),
        seed=3,
    ),
    "phi": Architecture(
        "phi",
        {**_GROUPED, "hidden_size": 64, "partial_rotary_factor": 0.5},
        Parts(norm="model.final_layernorm", inner="mlp.fc1"),
    ),
    "phi3": Architecture("phi3", {**_GROUPED, "sliding_window": WINDOW}, Parts(inner="mlp.gate_up_proj")),
    "olmo2": Architecture("olmo2", _GROUPED, seed=1),
    "granite": Architecture(
        "granite",
        {
            **_GROUPED,
            "embedding_multiplier": 3.0,
            "residual_multiplier": 0.7,
            "attention_multiplier": 0.3,
            "logits_scaling": 1.7,
        },
    ),
    "starcoder2": Architecture(
        "starcoder2",
        {**_GROUPED, "sliding_window": WINDOW, "use_bias": True, "tie_word_embeddings": False},
        Parts(inner="mlp.c_fc"),
        seed=5,
    ),
    "smollm3": Architecture("smollm3", {**_GROUPED, "no_rope_layers": [1, 0, 1]}),
    "cohere": Architecture("cohere", {**_GROUPED, "logit_scale": 0.5}),
}


def build_model(name: str, *, seed: int | None = None) -> Any:
    """A frozen random float32 model with eager attention, whose greedy tokens vary."""
    architecture = ARCHITECTURES[name]
    config = AutoConfig.for_model(architecture.model_type, **architecture.config)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32)
    randomise(model, seed=architecture.seed if seed is None else seed)
    model.generation_config.eos_token_id = EOS
    return model.eval().requires_grad_(False)


def randomise(model: Any, *, seed: int) -> None:
    """Give every weight, bias and norm values that change the output noticeably."""
    generator = torch.Generator().manual_seed(seed)
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 1:
                parameter.add_(0.2 * noise)
            else:
                # A head with this deviation separates the most probable tokens.
                gain = 3.0 if parameter is head.weight else 1.3
                parameter.copy_(gain / math.sqrt(parameter.shape[-1]) * noise)
        if embedding.weight is not head.weight:
            # Larger embeddings would hide the effect of the blocks, and with it that of the prompts.
            embedding.weight.div_(embedding(torch.arange(embedding.num_embeddings)).std())


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Words t0, t1, … of one token each; token 1 ends a text."""
    vocab = {"<unk>": 0, "</s>": EOS, **{f"t{i}": i for i in range(2, N_VOCAB)}}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", unk_token="<unk>")


def save(model: Any, folder: Path) -> None:
    """Write the model and its tokenizer as a directory that ``from_pretrained`` reads."""
    model.save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)
