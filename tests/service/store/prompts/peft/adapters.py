"""Adapters that PEFT makes and loads, on small random models, and the logits of plain models under native prompts."""

from __future__ import annotations

import dataclasses
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import (
    CartridgeConfig,
    CPTConfig,
    MultitaskPromptTuningConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    get_peft_model,
)
from transformers import DynamicCache, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from service.store.prompts.checks import BaseShape
from service.store.prompts.native_format import PromptFile

N_VIRTUAL = 5
INPUT_IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])

LLAMA = BaseShape(name="llama", revision="l", n_layers=3, d_model=24, n_kv_heads=2, d_head=6, n_positions=64)
WIDE_HEADS = dataclasses.replace(LLAMA, name="wide-heads", d_head=10)
GPT2 = BaseShape(name="gpt2", revision="g", n_layers=2, d_model=22, n_kv_heads=2, d_head=11, n_positions=48)
BASES = [LLAMA, WIDE_HEADS, GPT2]


def llama(*, head_dim: int) -> Any:
    config = LlamaConfig(
        vocab_size=31,
        hidden_size=24,
        intermediate_size=37,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=head_dim,
        max_position_embeddings=64,
    )
    return LlamaForCausalLM(config).eval()


def build(base: BaseShape) -> Any:
    torch.manual_seed(0)
    if base is GPT2:
        return GPT2LMHeadModel(GPT2Config(vocab_size=31, n_embd=22, n_head=2, n_layer=2, n_positions=48)).eval()
    return llama(head_dim=base.d_head)


def soft_config(**options: Any) -> Any:
    return PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=N_VIRTUAL, **options)


def encoder_config(kind: str) -> Any:
    return PromptEncoderConfig(
        task_type="CAUSAL_LM",
        num_virtual_tokens=N_VIRTUAL,
        encoder_reparameterization_type=kind,
        encoder_hidden_size=17,
    )


def prefix_config(*, projection: bool) -> Any:
    return PrefixTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=N_VIRTUAL, prefix_projection=projection, encoder_hidden_size=19
    )


def multitask_config(n_tasks: int) -> Any:
    return MultitaskPromptTuningConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=N_VIRTUAL, num_tasks=n_tasks, num_ranks=2
    )


CONFIGS: dict[str, Callable[[], Any]] = {
    "prompt": soft_config,
    "p-mlp": lambda: encoder_config("MLP"),
    "p-lstm": lambda: encoder_config("LSTM"),
    "prefix": lambda: prefix_config(projection=False),
    "prefix-projected": lambda: prefix_config(projection=True),
    "cpt": lambda: CPTConfig(task_type="CAUSAL_LM", cpt_token_ids=[1, 2, 3, 4, 5]),
    "cartridge": lambda: CartridgeConfig(task_type="CAUSAL_LM", num_virtual_tokens=N_VIRTUAL, num_frozen_tokens=2),
}


def tuned(base: BaseShape, config: Any) -> Any:
    """A PEFT model with random, not initial, prompt parameters."""
    model = get_peft_model(build(base), config)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.prompt_encoder.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return model.eval()


def zip_of(folder: Path) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, path.name)
    return buffer.getvalue()


def saved(model: Any, folder: Path) -> bytes:
    model.save_pretrained(folder)
    return zip_of(folder)


def loaded(base: BaseShape, folder: Path) -> Any:
    from_pretrained: Any = PeftModel.from_pretrained
    return from_pretrained(build(base), str(folder)).eval()


def logits_of(model: Any, **options: Any) -> torch.Tensor:
    with torch.no_grad():
        given = {"input_ids": INPUT_IDS, "attention_mask": torch.ones_like(INPUT_IDS), **options}
        logits: torch.Tensor = model(**given).logits
    return logits[:, -INPUT_IDS.shape[1] :]


def plain_logits(base: BaseShape, prompt: PromptFile) -> torch.Tensor:
    """The bare model with the native prompt put in front by hand."""
    model = build(base)
    values = torch.from_numpy(prompt.tensors[prompt.kind].copy())
    with torch.no_grad():
        if prompt.kind == "soft":
            embeds = torch.cat([values[None], model.get_input_embeddings()(INPUT_IDS)], dim=1)
            logits: torch.Tensor = model(inputs_embeds=embeds).logits[:, N_VIRTUAL:]
            return logits
        cache = DynamicCache([(layer[0][None], layer[1][None]) for layer in values])
        from_cache: torch.Tensor = model(input_ids=INPUT_IDS, past_key_values=cache).logits
    return from_cache
