"""Unsupported architectures are refused at loading, with the reason."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, T5Config, T5ForConditionalGeneration

from service.engine.model.hosted_model import HostedModel
from service.errors import UnsupportedModel
from tests.oracle.models import N_VOCAB, save

SMALL = {"vocab_size": N_VOCAB, "num_hidden_layers": 2, "hidden_size": 32, "intermediate_size": 38}
HEADS = {**SMALL, "num_attention_heads": 4, "num_key_value_heads": 2}


def load(folder: Path) -> HostedModel:
    return HostedModel.load("small", str(folder), device="cpu", dtype="float32")


@pytest.mark.parametrize(
    ("model_type", "config", "reason"),
    [
        ("stablelm", HEADS, "attn_implementation"),
        ("mamba", {**SMALL, "state_size": 5}, "Mamba"),
        (
            "phi3",
            {
                **HEADS,
                "pad_token_id": None,
                "max_position_embeddings": 64,
                "original_max_position_embeddings": 32,
                "rope_scaling": {"type": "longrope", "short_factor": [1.0] * 4, "long_factor": [2.0] * 4},
            },
            "longrope",
        ),
    ],
)
def test_unsupported_causal_models(tmp_path: Path, model_type: str, config: Mapping[str, Any], reason: str) -> None:
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **config), dtype=torch.float32)
    save(model, tmp_path)
    with pytest.raises(UnsupportedModel, match=reason):
        load(tmp_path)


def test_encoder_decoders(tmp_path: Path) -> None:
    config = T5Config(vocab_size=N_VOCAB, d_model=32, d_kv=8, d_ff=38, num_layers=2, num_heads=4)
    save(T5ForConditionalGeneration(config), tmp_path)
    with pytest.raises(UnsupportedModel, match="encoder-decoder"):
        load(tmp_path)


def test_folders_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel):
        load(tmp_path)
    with pytest.raises(UnsupportedModel, match="no such directory"):
        load(tmp_path / "absent")
