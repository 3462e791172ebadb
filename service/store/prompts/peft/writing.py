"""Native prompts as PEFT adapters."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from service.errors import InvalidRequest
from service.store.prompts.native_format import PromptFile
from service.store.prompts.peft.adapter_zip import write_adapter_zip
from service.store.prompts.peft.kinds import KINDS, MULTITASK, TASK_COLUMNS, TASK_ROWS, TENSOR

_DEFAULTS = {"soft": "PROMPT_TUNING", "prefix": "PREFIX_TUNING"}
_IMPORT_ONLY = "P_TUNING"
"""Its adapters hold an encoder, which a prompt does not have."""


def export_peft(prompt: PromptFile, *, peft_type: str | None = None) -> bytes:
    """A zip of an adapter directory that ``PeftModel.from_pretrained`` loads on the same base model.

    Args:
        peft_type: None: PROMPT_TUNING for soft prompts and PREFIX_TUNING for prefixes.

    Raises:
        InvalidRequest: PEFT has no adapter type for the kind, such as deep, or the type is for another kind.
    """
    if prompt.kind not in _DEFAULTS:
        raise InvalidRequest(f"PEFT has no form for a {prompt.kind} prompt; use the native format (format=native).")
    possible = [name for name, kind in KINDS.items() if kind == prompt.kind and name != _IMPORT_ONLY]
    chosen = peft_type or _DEFAULTS[prompt.kind]
    if chosen not in possible:
        raise InvalidRequest(
            f"Expected one of {', '.join(possible)} for a {prompt.kind} prompt, got {chosen}.", loc=("peft_type",)
        )
    config: dict[str, object] = {
        "base_model_name_or_path": prompt.base,
        "inference_mode": True,
        "num_transformer_submodules": 1,
        "num_virtual_tokens": prompt.n_virtual,
        "peft_type": chosen,
        "task_type": "CAUSAL_LM",
    }
    add = _soft if prompt.kind == "soft" else _prefix
    tensors = add(config, prompt)
    weights = safetensors.numpy.save(tensors, metadata={"format": "pt"})
    return write_adapter_zip(json.dumps(config, indent=2, sort_keys=True).encode(), weights=weights)


def _soft(config: dict[str, object], prompt: PromptFile) -> dict[str, npt.NDArray[Any]]:
    n, vectors = prompt.n_virtual, prompt.tensors["soft"]
    config["token_dim"] = prompt.d_model
    if config["peft_type"] == "CPT":
        # The tokens matter for training only: PEFT loads the vectors over their embeddings.
        config |= {"cpt_token_ids": [0] * n, "cpt_mask": [1] * n, "cpt_tokens_type_mask": [1] * n}
        return {TENSOR: vectors}
    config["prompt_tuning_init"] = "RANDOM"
    if config["peft_type"] != MULTITASK:
        return {TENSOR: vectors}
    # One task whose factors have the product 1 everywhere.
    config |= {"num_tasks": 1, "num_ranks": 1}
    ones = np.ones((1, n, 1), vectors.dtype), np.ones((1, 1, prompt.d_model), vectors.dtype)
    return {TENSOR: vectors, TASK_COLUMNS: ones[0], TASK_ROWS: ones[1]}


def _prefix(config: dict[str, object], prompt: PromptFile) -> dict[str, npt.NDArray[Any]]:
    n_layers, _, n_kv_heads, n_virtual, d_head = prompt.tensors["prefix"].shape
    config |= {"num_layers": n_layers, "num_attention_heads": n_kv_heads, "token_dim": n_kv_heads * d_head}
    if config["peft_type"] == "CARTRIDGE":
        config["num_frozen_tokens"] = min(_n_frozen(prompt), n_virtual)
    else:
        config |= {"encoder_hidden_size": n_kv_heads * d_head, "prefix_projection": False}
    flat = prompt.tensors["prefix"].transpose(3, 0, 1, 2, 4)
    return {TENSOR: np.ascontiguousarray(flat).reshape(n_virtual, -1)}


def _n_frozen(prompt: PromptFile) -> int:
    """Of an imported cartridge, its own number; otherwise PEFT's default."""
    notes = prompt.notes if isinstance(prompt.notes, dict) else {}
    known = notes.get("num_frozen_tokens")
    return known if type(known) is int and known >= 0 else 1
