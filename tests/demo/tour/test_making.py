"""Keys as they stand in a cache: against transformers' own rotary embedding."""

from __future__ import annotations

import numpy as np
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from demo.tour.making import Rotary

THETA = 500.0
N_KV_HEADS, N_TOKENS, D_HEAD = 3, 7, 10


def test_keys_are_turned_as_the_model_turns_them() -> None:
    config = LlamaConfig(
        hidden_size=30,
        num_attention_heads=3,
        head_dim=D_HEAD,
        rope_parameters={"rope_type": "default", "rope_theta": THETA},
    )
    keys = np.random.default_rng(1).normal(size=(N_KV_HEADS, N_TOKENS, D_HEAD)).astype(np.float32)
    as_tensor = torch.from_numpy(keys)[None]
    cosine, sine = LlamaRotaryEmbedding(config)(as_tensor, torch.arange(N_TOKENS)[None])
    expected = apply_rotary_pos_emb(as_tensor, as_tensor, cosine, sine)[1][0].numpy()
    turned = Rotary(THETA).turn(keys)
    np.testing.assert_allclose(turned, expected, atol=1e-5)
    assert turned.dtype == np.float32


def test_the_first_token_is_not_turned() -> None:
    keys = np.ones((1, 2, 4), np.float32)
    turned = Rotary(10_000.0).turn(keys)
    np.testing.assert_array_equal(turned[:, 0], keys[:, 0])
    assert np.abs(turned[:, 1] - keys[:, 1]).max() > 0.1
