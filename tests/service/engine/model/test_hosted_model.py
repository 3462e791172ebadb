"""Loading of models: supported ones are described, others are refused with the reason."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from service.engine.model import loading
from service.engine.model.hosted_model import HostedModel
from service.engine.model.loading import load_as, load_pretrained
from service.errors import UnsupportedModel
from tests.oracle.models import N_VOCAB, build_model, save


def small(kind: str, **more: Any) -> Any:
    config = AutoConfig.for_model(kind, vocab_size=N_VOCAB, bos_token_id=None, eos_token_id=1, pad_token_id=0, **more)
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager")


LLAMA = {
    "hidden_size": 24,
    "intermediate_size": 36,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}


def test_a_directory_is_loaded_and_described(tmp_path: Path) -> None:
    save(build_model("llama"), tmp_path)
    card = HostedModel.load("small", str(tmp_path), device="cpu").card
    assert (card.n_layers, card.d_model, card.n_heads, card.n_kv_heads, card.d_head) == (3, 56, 4, 2, 14)
    assert (card.vocab_size, card.n_positions, card.dtype, card.device) == (97, 128, "float32", "cpu")
    assert {"embed", "resid_post", "attn_probs", "model.layers.2.mlp.gate_proj"} <= set(card.sites)
    assert "lm_head" not in card.sites  # it runs on the rows that are kept, not on every token
    # An independent computation: of prompts that are stored with a revision, it may never change.
    weights = (tmp_path / "model.safetensors").read_bytes()
    assert card.revision == hashlib.sha256(b"model.safetensors\0" + weights).hexdigest()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_other_dtypes_pass_the_check_against_the_plain_forward(tmp_path: Path, dtype: str) -> None:
    save(build_model("llama"), tmp_path)
    assert HostedModel.load("m", str(tmp_path), device="cpu", dtype=dtype).card.dtype == dtype


def test_bloom_is_refused_for_its_attention() -> None:
    model = small("bloom", hidden_size=24, n_layer=2, n_head=4)
    with pytest.raises(UnsupportedModel, match="does not support a custom attn_implementation"):
        HostedModel("bloom", model, None, revision="")


def test_positions_that_depend_on_the_batch_are_refused() -> None:
    model = small("llama", **LLAMA, rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0})
    with pytest.raises(UnsupportedModel, match="dynamic"):
        HostedModel("m", model, None, revision="")


def test_unsupported_attention_is_refused() -> None:
    """The attention does more than the interface allows; comparing logits detects it."""
    model = small("llama", **LLAMA)
    attention = model.model.layers[1].self_attn
    plain = attention.forward

    def doubled(*args: Any, **kwargs: Any) -> Any:
        out, weights = plain(*args, **kwargs)
        return (out if model.config._attn_implementation == "eager" else 2 * out), weights

    attention.forward = doubled
    with pytest.raises(UnsupportedModel, match="differ from the plain forward"):
        HostedModel("m", model, None, revision="")


def test_an_encoder_decoder_is_refused(tmp_path: Path) -> None:
    config = AutoConfig.for_model("t5", vocab_size=N_VOCAB, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    AutoModelForSeq2SeqLM.from_config(config).save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModel, match="encoder-decoder"):
        load_pretrained(str(tmp_path), device="cpu", dtype="auto")


@pytest.mark.parametrize("what", ["missing", "empty"])
def test_a_folder_without_a_model_is_refused_by_name(tmp_path: Path, what: str) -> None:
    folder = tmp_path / what
    if what == "empty":
        folder.mkdir()
    with pytest.raises(UnsupportedModel, match=what):
        load_pretrained(str(folder), device="cpu", dtype="auto")


def test_an_unknown_dtype_is_refused(tmp_path: Path) -> None:
    save(build_model("llama"), tmp_path)
    with pytest.raises(UnsupportedModel, match="float64"):
        HostedModel.load("m", str(tmp_path), device="cpu", dtype="float64")


def test_the_model_is_frozen() -> None:
    hosted = HostedModel("m", build_model("llama"), None, revision="")
    assert not any(parameter.requires_grad for parameter in hosted.module.parameters())
    assert not hosted.module.training
    assert hosted.dtype == torch.float32


@pytest.mark.parametrize("device_map", ["auto", "balanced", {"": "cpu"}, "cpu"])
def test_a_device_map_reaches_transformers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device_map: str | dict[str, int | str]
) -> None:
    received: list[dict[str, Any]] = []

    class Auto:
        @staticmethod
        def from_pretrained(folder: Path, **options: Any) -> torch.nn.Module:
            received.append(options)
            return torch.nn.Linear(2, 3)

    monkeypatch.setattr(loading, "AutoTokenizer", Auto)
    load_as(Auto, tmp_path, label="m", device="auto", dtype="float32", device_map=device_map)
    load_as(Auto, tmp_path, label="m", device="cpu", dtype="float32")
    assert received[0] == {"dtype": torch.float32, "device_map": device_map}
    assert "device_map" not in received[2]
