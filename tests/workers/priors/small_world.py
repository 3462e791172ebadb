"""A random model of three layers whose tokenizer puts a token in front of every text, with stores and a dataset."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from promptatlas.types.forms import Method
from promptatlas.types.priors import Prior
from pydantic import TypeAdapter
from tokenizers.processors import TemplateProcessing
from torch import Tensor

from service.engine.model.hosted_model import HostedModel
from service.store.artifacts.store import ArtifactStore
from service.store.datasets.store import DatasetStore
from service.store.prompts.checks import BaseShape
from service.store.prompts.native_format import make_prompt
from service.store.prompts.store import PromptStore
from tests.oracle.models import build_model, save
from workers.priors.sources.sources import Sources

BEGIN = 0
"""Id of the token that stands in front of every text."""

TEXTS = {"train": 31, "validation": 5}


@cache
def small_model(architecture: str = "llama") -> HostedModel:
    """Its vocabulary is two rows longer than its tokenizer."""
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        save(build_model(architecture), Path(folder))
        model = HostedModel.load("small", folder, device="cpu", dtype="float32")
    backend = model.tokenizer.backend_tokenizer
    word = backend.id_to_token(BEGIN)
    backend.post_processor = TemplateProcessing(single=f"{word} $A", special_tokens=[(word, BEGIN)])
    return model


@cache
def plain_model(architecture: str = "llama") -> Any:
    """The same in plain transformers."""
    return build_model(architecture)


def prior(**fields: Any) -> Prior:
    adapter: TypeAdapter[Prior] = TypeAdapter(Prior)
    return adapter.validate_python(fields)


def method(**fields: Any) -> Method:
    adapter: TypeAdapter[Method] = TypeAdapter(Method)
    return adapter.validate_python(fields)


@dataclass
class Stores:
    """A store's prompts and datasets, with ``words`` (inputs and targets) and ``lines`` (running text)."""

    artifacts: ArtifactStore
    datasets: DatasetStore
    prompts: PromptStore

    @classmethod
    def under(cls, home: Path) -> Stores:
        artifacts = ArtifactStore(str(home))
        stores = cls(artifacts, DatasetStore(artifacts), PromptStore(artifacts))
        pairs = [
            {"input": f"t{2 + i % 90} t{5 + i % 7}", "target": f" t{9 + i % 13}", "split": split}
            for split, n in TEXTS.items()
            for i in range(n)
        ]
        stores.put("words", pairs)
        stores.put("lines", [{"text": f"t{3 + i} t{7 + i} t{3 + i}", "split": "train"} for i in range(11)])
        return stores

    def put(self, name: str, lines: list[dict[str, Any]]) -> None:
        self.datasets.create(
            name, format="jsonl", stream=io.BytesIO("".join(json.dumps(line) + "\n" for line in lines).encode())
        )

    def sources(self, model: HostedModel, **fields: Any) -> Sources:
        return Sources(model, datasets=self.datasets, prompts=self.prompts, **fields)

    def put_prompt(
        self,
        name: str,
        kind: Any,
        tensors: dict[str, Tensor],
        *,
        model: HostedModel,
        revision: str | None = None,
        where: Any = None,
    ) -> None:
        card = model.card
        base = BaseShape(
            name=card.name,
            revision=revision or card.revision,
            n_layers=card.n_layers,
            d_model=card.d_model,
            n_kv_heads=card.n_kv_heads,
            d_head=card.d_head,
            n_positions=card.n_positions,
        )
        arrays = {key: tensor.numpy() for key, tensor in tensors.items()}
        self.prompts.create(name, prompt=make_prompt(kind, tensors=arrays, base=base, where=where))
