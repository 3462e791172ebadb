"""Against PEFT itself: what is exported PEFT can use."""

from __future__ import annotations

import copy
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from service.errors import InvalidRequest
from service.store.prompts.checks import BaseShape
from service.store.prompts.native_format import make_prompt, parse_native
from service.store.prompts.peft.adapter_zip import CONFIG_NAME, WEIGHTS_NAME
from service.store.prompts.peft.reading import parse_peft
from service.store.prompts.peft.writing import export_peft
from tests.service.store.prompts.peft.adapters import (
    BASES,
    CONFIGS,
    INPUT_IDS,
    LLAMA,
    N_VIRTUAL,
    loaded,
    logits_of,
    plain_logits,
    saved,
    tuned,
    zip_of,
)


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


@pytest.mark.parametrize(
    ("method", "peft_type"),
    [("prompt", "CPT"), ("prompt", "MULTITASK_PROMPT_TUNING"), ("cpt", "PROMPT_TUNING"), ("prefix", "CARTRIDGE")],
)
def test_a_prompt_can_be_exported_as_another_type(method: str, peft_type: str, tmp_path: Path) -> None:
    model = tuned(LLAMA, CONFIGS[method]())
    prompt = parse_peft(saved(model, tmp_path / "in"), bases=[LLAMA])
    with zipfile.ZipFile(io.BytesIO(export_peft(prompt, peft_type=peft_type))) as archive:
        archive.extractall(tmp_path / "out")
    again = loaded(LLAMA, tmp_path / "out")
    assert again.peft_config["default"].peft_type == peft_type
    tasks = {"task_ids": torch.tensor([0])} if peft_type == "MULTITASK_PROMPT_TUNING" else {}
    torch.testing.assert_close(logits_of(again, **tasks), logits_of(model), atol=1e-5, rtol=1e-5)
    assert parse_peft(zip_of(tmp_path / "out"), bases=[LLAMA]).sha256 == prompt.sha256


def test_the_frozen_positions_of_a_cartridge_are_kept(tmp_path: Path) -> None:
    prompt = parse_peft(saved(tuned(LLAMA, CONFIGS["cartridge"]()), tmp_path), bases=[LLAMA])
    with zipfile.ZipFile(io.BytesIO(export_peft(prompt, peft_type="CARTRIDGE"))) as archive:
        assert json.loads(archive.read(CONFIG_NAME))["num_frozen_tokens"] == 2


def test_a_type_of_another_kind_is_refused() -> None:
    prompt = make_prompt("prefix", tensors={"prefix": np.ones((3, 2, 2, 5, 6))}, base=LLAMA)
    for name in ("CPT", "PROMPT_TUNING"):
        with pytest.raises(InvalidRequest, match=f"one of PREFIX_TUNING, CARTRIDGE for a prefix prompt, got {name}"):
            export_peft(prompt, peft_type=name)


def test_an_exported_prompt_generates_in_peft(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(3, 2, 2, N_VIRTUAL, 6))
    prompt = make_prompt("prefix", tensors={"prefix": values}, base=LLAMA)
    with zipfile.ZipFile(io.BytesIO(export_peft(prompt))) as archive:
        archive.extractall(tmp_path)
    model = loaded(LLAMA, tmp_path)
    tokens = model.generate(input_ids=INPUT_IDS, max_new_tokens=1, do_sample=False, pad_token_id=0)
    assert tokens[0, -1] == plain_logits(LLAMA, prompt)[0, -1].argmax()


def test_peft_has_no_form_for_deep_prompts() -> None:
    prompt = make_prompt("deep", tensors={"deep.1": np.ones((4, 24))}, base=LLAMA)
    with pytest.raises(InvalidRequest, match="no form for a deep prompt"):
        export_peft(prompt)


def test_exporting_changes_nothing_of_the_prompt() -> None:
    prompt = make_prompt("prefix", tensors={"prefix": np.ones((3, 2, 2, 5, 6))}, base=LLAMA)
    before = copy.deepcopy(dict(prompt.tensors))
    assert WEIGHTS_NAME.encode() in export_peft(prompt)
    np.testing.assert_array_equal(prompt.tensors["prefix"], before["prefix"])
