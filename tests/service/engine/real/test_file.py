"""The converted file: weights, configuration and token ids of SmolLM2-135M-Instruct."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from service.engine.model.hosted_model import HostedModel

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

IDS_FILE = Path(__file__).parent / "smollm2_token_ids.json"
"""Texts and their token ids as llama.cpp computes them from the same file: llama-cpp-python 0.3.36,
``Llama(file, vocab_only=True).tokenize(text.encode(), add_bos=False, special=False)``.
"""


def test_converted_weights_are_those_of_plain_transformers(converted: Path, plain: Any) -> None:
    found, expected = load_file(converted / "model.safetensors"), plain.state_dict()
    assert set(expected) - set(found) == {"lm_head.weight"}  # tied: saved once
    for name, values in found.items():
        assert torch.equal(values, expected[name]), name


@pytest.fixture(scope="module")
def reader(file: Path) -> gguf.GGUFReader:
    return gguf.GGUFReader(file)


def test_a_matrix_is_dequantised_by_the_definition_of_q4_1(reader: gguf.GGUFReader, converted: Path) -> None:
    """Blocks of a scale, a minimum (float16) and 32 four-bit numbers. Of values, rows are in transformers' order."""
    (tensor,) = (one for one in reader.tensors if one.name == "blk.3.attn_v.weight")
    assert tensor.tensor_type.name == "Q4_1"
    blocks = np.asarray(tensor.data).reshape(-1, 20)
    scale, minimum = (blocks[:, i : i + 2].copy().view(np.float16).astype(np.float32) for i in (0, 2))
    numbers = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1).astype(np.float32)
    expected = torch.from_numpy((scale * numbers + minimum).reshape(192, 576))
    assert torch.equal(load_file(converted / "model.safetensors")["model.layers.3.self_attn.v_proj.weight"], expected)


def test_the_configuration_is_that_of_the_file(file: Path, reader: gguf.GGUFReader, hosted: HostedModel) -> None:
    fields = {key: field.contents() for key, field in reader.fields.items() if key.startswith("llama.")}
    config, card = hosted.config, hosted.card
    assert config.rope_parameters == {"rope_type": "default", "rope_theta": fields["llama.rope.freq_base"]}
    assert fields["llama.rope.freq_base"] == 100_000
    assert config.rms_norm_eps == fields["llama.attention.layer_norm_rms_epsilon"] == pytest.approx(1e-5, rel=1e-7)
    assert card.n_positions == fields["llama.context_length"] == 8192
    assert card.n_layers == fields["llama.block_count"] == 30
    assert card.d_model == fields["llama.embedding_length"] == 576
    assert (card.n_heads, card.n_kv_heads) == (9, 3)
    assert card.vocab_size == fields["llama.vocab_size"] == 49_152
    assert config.intermediate_size == fields["llama.feed_forward_length"]
    assert config.tie_word_embeddings
    assert card.revision == hashlib.sha256(file.read_bytes()).hexdigest()


def test_token_ids_are_those_of_llama_cpp(hosted: HostedModel) -> None:
    for text, ids in json.loads(IDS_FILE.read_text("utf-8")):
        assert hosted.tokenizer(text)["input_ids"] == ids, repr(text)
        assert hosted.tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


def test_special_tokens_are_read_in_texts_and_no_bos_is_added(hosted: HostedModel) -> None:
    tokenizer = hosted.tokenizer
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi 12"}], tokenize=False, add_generation_prompt=True
    )
    assert chat.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    assert chat.endswith("<|im_start|>user\nHi 12<|im_end|>\n<|im_start|>assistant\n")
    # As llama.cpp reads them.
    ids = [1, 4093, 198, 26843, 216, 33, 34, 2, 198, 1, 520, 9531, 198]
    assert tokenizer("<|im_start|>user\nHi 12<|im_end|>\n<|im_start|>assistant\n")["input_ids"] == ids
    assert tokenizer("Hello")["input_ids"] == [19556]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 2)
    assert len(tokenizer) == 49_152
    assert hosted.module.generation_config.eos_token_id == [2]
