"""Shapes of models, built with random weights on the device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
from transformers import LlamaForCausalLM

from benchmarks.sides.models import LlamaSize, llama_config

SHAPES: Final[Mapping[str, LlamaSize]] = {
    "1b": LlamaSize(d_model=2048, n_layers=16, n_heads=32, n_kv_heads=8, d_mlp=8192, n_vocab=128_256, n_positions=8192),
    "8b": LlamaSize(
        d_model=4096, n_layers=32, n_heads=32, n_kv_heads=8, d_mlp=14336, n_vocab=128_256, n_positions=8192
    ),
    "tiny": LlamaSize(d_model=64, n_layers=3, n_heads=4, n_kv_heads=2, d_mlp=160, n_vocab=199),
}
"""Those of Llama 3.2 1B and Llama 3.1 8B, except that the head is not tied; and one for tests."""


def build(size: LlamaSize, *, device: torch.device, dtype: torch.dtype) -> Any:
    """A frozen random model that never ends a text, made on the device, so that the host needs no copy."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            torch.manual_seed(0)
            module = LlamaForCausalLM(llama_config(size))
    finally:
        torch.set_default_dtype(before)
    return module.eval().requires_grad_(False)


def n_parameters(size: LlamaSize, *, with_head: bool) -> int:
    """Parameters that a token is multiplied with: all but the token embeddings, of which one row is read."""
    d_head = size.d_head or size.d_model // size.n_heads
    attention = size.d_model * d_head * (2 * size.n_heads + 2 * size.n_kv_heads)
    block = attention + 3 * size.d_model * size.d_mlp
    return size.n_layers * block + (size.d_model * size.n_vocab if with_head else 0)


def kv_bytes(size: LlamaSize, *, dtype: torch.dtype) -> int:
    """Bytes of keys and values of one token in all layers."""
    d_head = size.d_head or size.d_model // size.n_heads
    return 2 * size.n_layers * size.n_kv_heads * d_head * dtype.itemsize
