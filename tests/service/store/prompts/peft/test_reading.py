"""Against PEFT itself: what is imported is what PEFT uses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch

from service.errors import InvalidRequest, NotFound
from service.store.prompts.checks import BaseShape
from service.store.prompts.peft.adapter_zip import CONFIG_NAME, write_adapter_zip
from service.store.prompts.peft.reading import parse_peft
from tests.service.store.prompts.peft.adapters import (
    BASES,
    CONFIGS,
    GPT2,
    INPUT_IDS,
    LLAMA,
    N_VIRTUAL,
    build,
    loaded,
    logits_of,
    multitask_config,
    plain_logits,
    saved,
    soft_config,
    tuned,
)


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


@pytest.mark.parametrize("task", [0, 2])
def test_one_task_of_a_multitask_adapter_is_imported(task: int, tmp_path: Path) -> None:
    model = tuned(LLAMA, multitask_config(3))
    prompt = parse_peft(saved(model, tmp_path), bases=[LLAMA], task=task)
    own = logits_of(model, task_ids=torch.tensor([task]))
    torch.testing.assert_close(plain_logits(LLAMA, prompt), own, atol=1e-4, rtol=1e-4)
    other = logits_of(model, task_ids=torch.tensor([1]))
    assert (own - other).abs().max() > 1e-3
    assert prompt.notes["task"] == task


def test_the_task_of_a_multitask_adapter_must_be_named(tmp_path: Path) -> None:
    data = saved(tuned(LLAMA, multitask_config(3)), tmp_path / "three")
    with pytest.raises(InvalidRequest, match=r"has 3 tasks\. Choose one with \?task=0 to 2"):
        parse_peft(data, bases=[LLAMA])
    with pytest.raises(InvalidRequest, match="a task from 0 to 2, got 3"):
        parse_peft(data, bases=[LLAMA], task=3)
    single = saved(tuned(LLAMA, multitask_config(1)), tmp_path / "one")
    assert parse_peft(single, bases=[LLAMA]).n_virtual == N_VIRTUAL
    plain = saved(tuned(LLAMA, soft_config()), tmp_path / "plain")
    with pytest.raises(InvalidRequest, match="A task is chosen from an adapter of type MULTITASK_PROMPT_TUNING"):
        parse_peft(plain, bases=[LLAMA], task=0)


def test_factors_of_other_shapes_are_refused() -> None:
    config = {**CONFIG, "peft_type": "MULTITASK_PROMPT_TUNING"}
    factors = {"prefix_task_cols": np.ones((2, 4, 1), np.float32), "prefix_task_rows": np.ones((2, 1, 24), np.float32)}
    weights = safetensors.numpy.save({"prompt_embeddings": VECTORS, **factors})
    data = write_adapter_zip(json.dumps(config).encode(), weights=weights)
    with pytest.raises(InvalidRequest, match=r"must be \[n_tasks, 5, n_ranks\].*they are \[2, 4, 1\]"):
        parse_peft(data, bases=[LLAMA], task=0)


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
        ({"peft_type": "LORA"}, {}, "PROMPT_TUNING, P_TUNING, .* are prompts; .*'LORA'"),
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
