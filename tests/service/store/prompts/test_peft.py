"""Against PEFT itself, on small random models: what is imported is what PEFT uses, what is exported PEFT can use."""

from __future__ import annotations

import copy
import dataclasses
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from peft import CartridgeConfig, PeftModel, PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig, get_peft_model
from transformers import DynamicCache, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from service.errors import InvalidRequest, NotFound
from service.store.prompts.adapter_zip import CONFIG_NAME, WEIGHTS_NAME, write_adapter_zip
from service.store.prompts.checks import BaseShape
from service.store.prompts.native_format import PromptFile, make_prompt, parse_native
from service.store.prompts.peft import export_peft, parse_peft

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


CONFIGS: dict[str, Callable[[], Any]] = {
    "prompt": soft_config,
    "p-mlp": lambda: encoder_config("MLP"),
    "p-lstm": lambda: encoder_config("LSTM"),
    "prefix": lambda: prefix_config(projection=False),
    "prefix-projected": lambda: prefix_config(projection=True),
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


def logits_of(model: Any) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model(input_ids=INPUT_IDS, attention_mask=torch.ones_like(INPUT_IDS)).logits
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


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.name)
@pytest.mark.parametrize("method", CONFIGS)
def test_what_is_imported_is_what_peft_uses(base: BaseShape, method: str, tmp_path: Path) -> None:
    model = tuned(base, CONFIGS[method]())
    prompt = parse_peft(saved(model, tmp_path), bases=BASES, base=base.name)
    assert (prompt.base, prompt.base_revision, prompt.n_virtual) == (base.name, base.revision, N_VIRTUAL)
    # What PEFT itself makes of the same files; the encoder, run again, may round otherwise.
    own = loaded(base, tmp_path).get_prompt(batch_size=1)
    if prompt.kind == "soft":
        np.testing.assert_array_equal(prompt.tensors["soft"], own[0].detach().numpy())
    else:
        layers = [torch.stack([layer.keys[0], layer.values[0]]) for layer in own.layers]
        np.testing.assert_array_equal(prompt.tensors["prefix"], torch.stack(layers).detach().numpy())
    torch.testing.assert_close(plain_logits(base, prompt), logits_of(model), atol=1e-4, rtol=1e-4)
    assert (plain_logits(base, prompt) - build(base)(INPUT_IDS).logits).abs().max() > 1e-3


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.name)
@pytest.mark.parametrize("method", ["prompt", "prefix"])
def test_what_is_exported_peft_can_use(base: BaseShape, method: str, tmp_path: Path) -> None:
    model = tuned(base, CONFIGS[method]())
    prompt = parse_peft(saved(model, tmp_path / "in"), bases=BASES, base=base.name)
    stored = parse_native(prompt.to_bytes(), bases=BASES)
    with zipfile.ZipFile(io.BytesIO(export_peft(stored))) as archive:
        archive.extractall(tmp_path / "out")
    torch.testing.assert_close(logits_of(loaded(base, tmp_path / "out")), logits_of(model), atol=0, rtol=0)
    again = parse_peft(zip_of(tmp_path / "out"), bases=BASES, base=base.name)
    assert again.sha256 == prompt.sha256


def test_an_exported_prompt_generates_in_peft(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(3, 2, 2, N_VIRTUAL, 6))
    prompt = make_prompt("prefix", tensors={"prefix": values}, base=LLAMA)
    with zipfile.ZipFile(io.BytesIO(export_peft(prompt))) as archive:
        archive.extractall(tmp_path)
    model = loaded(LLAMA, tmp_path)
    tokens = model.generate(input_ids=INPUT_IDS, max_new_tokens=1, do_sample=False, pad_token_id=0)
    assert tokens[0, -1] == plain_logits(LLAMA, prompt)[0, -1].argmax()


def test_an_import_of_a_loaded_adapter_is_the_same(tmp_path: Path) -> None:
    model = tuned(LLAMA, CONFIGS["p-mlp"]())
    first = parse_peft(saved(model, tmp_path / "a"), bases=[LLAMA])
    again = loaded(LLAMA, tmp_path / "a")
    assert parse_peft(saved(again, tmp_path / "b"), bases=[LLAMA]).sha256 == first.sha256


def test_half_precision_adapters_are_widened(tmp_path: Path) -> None:
    model = tuned(LLAMA, soft_config())
    model.prompt_encoder.to(torch.bfloat16)
    prompt = parse_peft(saved(model, tmp_path), bases=[LLAMA])
    expected = model.prompt_encoder["default"].embedding.weight.detach().float()
    np.testing.assert_array_equal(prompt.tensors["soft"], expected.numpy())


def test_the_base_that_it_fits_is_found_or_must_be_named(tmp_path: Path) -> None:
    soft = saved(tuned(LLAMA, soft_config()), tmp_path / "soft")
    prefix = saved(tuned(LLAMA, CONFIGS["prefix"]()), tmp_path / "prefix")
    assert parse_peft(soft, bases=[LLAMA, GPT2]).base == "llama"
    assert parse_peft(prefix, bases=BASES).base == "llama"
    with pytest.raises(InvalidRequest, match=r"fits several hosted models \(llama, wide-heads\).*\?base="):
        parse_peft(soft, bases=BASES)
    with pytest.raises(InvalidRequest, match=r"fits no hosted model\. gpt2: .*22 columns .*it has 24"):
        parse_peft(soft, bases=[GPT2])
    with pytest.raises(InvalidRequest, match=r"does not fit gpt2: .*num_layers 3"):
        parse_peft(prefix, bases=BASES, base="gpt2")
    with pytest.raises(NotFound, match="No model 'none'"):
        parse_peft(soft, bases=BASES, base="none")
    with pytest.raises(InvalidRequest, match="fits no hosted model"):
        parse_peft(soft, bases=[])


def test_where_it_came_from_is_noted(tmp_path: Path) -> None:
    notes = parse_peft(saved(tuned(LLAMA, soft_config()), tmp_path), bases=[LLAMA]).notes
    assert notes["imported_from"] == "peft"
    assert notes["peft_type"] == "PROMPT_TUNING"


CONFIG = {"peft_type": "PROMPT_TUNING", "task_type": "CAUSAL_LM", "num_virtual_tokens": 5}
VECTORS = np.ones((5, 24), np.float32)


@pytest.mark.parametrize(
    ("config", "tensors", "message"),
    [
        ({"peft_type": "LORA"}, {}, "PROMPT_TUNING, P_TUNING, PREFIX_TUNING, CARTRIDGE are prompts; .*'LORA'"),
        ({"peft_type": None}, {}, "'None'"),
        ({"peft_type": ["x"]}, {}, "peft_type"),
        ({"task_type": "SEQ_2_SEQ_LM"}, {}, "CAUSAL_LM; it is for 'SEQ_2_SEQ_LM'"),
        ({"num_transformer_submodules": 2}, {}, "decoder-only"),
        ({"modules_to_save": ["lm_head"]}, {}, "modules_to_save"),
        ({"num_virtual_tokens": 6}, {}, "num_virtual_tokens 6; 'prompt_embeddings' has 5 rows"),
        ({}, {"extra": VECTORS}, "alone; it holds 'extra', 'prompt_embeddings'"),
        ({}, {"prompt_embeddings": np.ones(3, np.float32)}, "two axes"),
        ({}, {"prompt_embeddings": np.full((5, 24), np.nan, np.float32)}, "not finite"),
        ({}, {"prompt_embeddings": np.ones((5, 24), np.int8)}, "floating-point"),
        ({"num_virtual_tokens": 64}, {"prompt_embeddings": np.ones((64, 24), np.float32)}, "64 virtual tokens leave"),
        ({"num_virtual_tokens": 0}, {"prompt_embeddings": np.ones((0, 24), np.float32)}, "at least 1"),
        ({"peft_type": "PREFIX_TUNING"}, {}, r"72 columns \(n_layers \* 2"),
    ],
)
def test_what_is_no_prompt_is_refused(config: dict[str, Any], tensors: dict[str, Any], message: str) -> None:
    weights = safetensors.numpy.save({"prompt_embeddings": VECTORS, **tensors})
    data = write_adapter_zip(json.dumps({**CONFIG, **config}).encode(), weights=weights)
    with pytest.raises(InvalidRequest, match=message):
        parse_peft(data, bases=[LLAMA])


@pytest.mark.parametrize("config", [b"[]", b"{", b'{"a":NaN}', b"\xff", b'"x"'])
def test_a_config_that_is_no_object_is_refused(config: bytes) -> None:
    data = write_adapter_zip(config, weights=safetensors.numpy.save({"prompt_embeddings": VECTORS}))
    with pytest.raises(InvalidRequest, match=CONFIG_NAME):
        parse_peft(data, bases=[LLAMA])


def test_weights_that_are_no_safetensors_are_refused() -> None:
    data = write_adapter_zip(json.dumps(CONFIG).encode(), weights=b"\x80\x04pickle")
    with pytest.raises(InvalidRequest, match="safetensors"):
        parse_peft(data, bases=[LLAMA])


def test_peft_has_no_form_for_deep_prompts() -> None:
    prompt = make_prompt("deep", tensors={"deep.1": np.ones((4, 24))}, base=LLAMA)
    with pytest.raises(InvalidRequest, match="no form for a deep prompt"):
        export_peft(prompt)


def test_exporting_changes_nothing_of_the_prompt() -> None:
    prompt = make_prompt("prefix", tensors={"prefix": np.ones((3, 2, 2, 5, 6))}, base=LLAMA)
    before = copy.deepcopy(dict(prompt.tensors))
    assert WEIGHTS_NAME.encode() in export_peft(prompt)
    np.testing.assert_array_equal(prompt.tensors["prefix"], before["prefix"])
