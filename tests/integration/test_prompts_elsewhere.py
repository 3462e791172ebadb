"""Exported prompts in plain transformers, as docs/api.md shows it, against the service that exported them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from promptatlas import Client, errors
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from tests.integration.conftest import KEY
from tests.integration.running import Service
from tests.integration.tiny_model import D_MODEL

TEXT = "hello there"


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with Client(base_url=service.url, api_key=KEY) as made:
        yield made


@pytest.fixture(scope="module")
def model(model_path: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(model_path)


@pytest.fixture(scope="module")
def ids(model_path: Path) -> torch.Tensor:
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    return tokenizer(TEXT, return_tensors="pt").input_ids  # type: ignore[no-any-return]


@pytest.fixture
def soft(client: Client) -> str:
    values = np.random.default_rng(5).normal(size=(3, D_MODEL)).astype(np.float32)
    client.prompts.upload("elsewhere", tensors={"soft": values}, base="tiny")
    return "elsewhere"


def logprob_of_first(client: Client, ref: str) -> tuple[str, float]:
    answer = client.completions.create(model=f"tiny:{ref}", prompt=TEXT, max_tokens=1, temperature=0, logprobs=1)
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.token_logprobs is not None
    return answer.choices[0].text, float(logprobs.token_logprobs[0] or 0.0)


@torch.no_grad()
def test_keys_and_values_start_a_cache(
    client: Client, soft: str, model: Any, ids: torch.Tensor, tmp_path: Path
) -> None:
    path = client.prompts.download(soft, tmp_path / "kv.safetensors", format="kv")
    with safe_open(path, "pt") as file:
        assert '"n_virtual":3' in file.metadata()["promptatlas"]
    tensors = load_file(path)
    cache = DynamicCache()
    for layer in range(model.config.num_hidden_layers):
        cache.update(tensors[f"keys.{layer}"], tensors[f"values.{layer}"], layer)
    n_virtual = cache.get_seq_length()
    mask = torch.ones(1, n_virtual + ids.shape[1], dtype=torch.long)
    logits = model(input_ids=ids, attention_mask=mask, past_key_values=cache).logits[0, -1]
    assert float(logits.log_softmax(-1).max()) == pytest.approx(logprob_of_first(client, soft)[1], abs=1e-4)


@torch.no_grad()
def test_vectors_precede_the_embeddings_of_a_text(
    client: Client, soft: str, model: Any, ids: torch.Tensor, tmp_path: Path
) -> None:
    path = client.prompts.download(soft, tmp_path / "embeds.safetensors", format="prompt_embeds")
    vectors = load_file(path)["prompt_embeds"]
    embeddings = model.get_input_embeddings()(ids)[0]
    whole = torch.cat([vectors.to(embeddings.dtype), embeddings])
    expected = logprob_of_first(client, soft)
    logits = model(inputs_embeds=whole[None]).logits[0, -1]
    assert float(logits.log_softmax(-1).max()) == pytest.approx(expected[1], abs=1e-4)
    given = client.completions.create(model="tiny", prompt_embeds=whole, max_tokens=1, temperature=0, logprobs=1)
    assert given.choices[0].logprobs is not None
    assert given.choices[0].logprobs.token_logprobs is not None
    assert given.choices[0].logprobs.token_logprobs[0] == pytest.approx(expected[1], abs=1e-4)


def test_a_prompt_that_a_format_cannot_express(client: Client, tmp_path: Path) -> None:
    steering = {"steering.0": np.ones(D_MODEL, np.float32)}
    client.prompts.upload("elsewhere-steering", tensors=steering, base="tiny")
    for form in ("kv", "prompt_embeds"):
        with pytest.raises(errors.InvalidRequestError, match="steering"):
            client.prompts.download("elsewhere-steering", tmp_path / "x", format=form)
