"""The pretrained model of `make smollm2`: plain transformers reads the GGUF file itself, the engine the converted folder."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, DynamicCache

from demo.models.smollm2 import PATH
from service.engine.engine import Engine
from service.engine.model.hosted_model import HostedModel
from service.engine.prompts.prompt import Prompt, from_tensors
from service.engine.requests import Limits
from tests.oracle.models import Parts
from tests.oracle.prompts import OraclePrompt, deep, soft, steering
from tests.oracle.runs import oracle_states
from tests.service.engine.contract import Case

VARIABLE: Final = "PROMPTATLAS_TEST_SMOLLM2"
EOS: Final = 2
D_MODEL: Final = 576
N_LAYERS: Final = 30
EMBEDDING_STD: Final = 0.1
"""About that of the model's token embeddings, so that prompts have the size of what tuning starts from."""


def model_file() -> Path:
    """The file, which may be missing."""
    return Path(os.environ.get(VARIABLE) or PATH)


def load_plain(file: Path) -> Any:
    """The float32 model as transformers reads it from the file, without this project's conversion."""
    model = AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32, attn_implementation="eager"
    )
    return model.eval().requires_grad_(False)


def prefix_of(model: Any, *, ids: tuple[int, ...]) -> OraclePrompt:
    """Keys and values of tokens. Random ones would be far from any that this model has, and their rounding large."""
    cache = DynamicCache()
    with torch.no_grad():
        model(torch.tensor([ids]), past_key_values=cache, use_cache=True)
    tensor = torch.stack([torch.stack([layer.keys[0], layer.values[0]]) for layer in cache.layers])
    return OraclePrompt("prefix", {"prefix": tensor})


class RealWorld:
    """The model as plain transformers and as the engine run it, with prompts of all kinds.

    Args:
        plain: the model of the oracle, in any dtype.
        hosted: the engine's model.
        dtype: prompts have values of this dtype, so that casts of them round nothing.
    """

    parts = Parts()
    n_layers = N_LAYERS
    inner_site = "model.layers.1.mlp.down_proj"

    def __init__(self, *, plain: Any, hosted: HostedModel, dtype: torch.dtype = torch.float32) -> None:
        self.plain = plain
        self.hosted = hosted
        self.dtype = dtype
        self._states: dict[tuple[str, tuple[int, ...]], dict[str, Tensor]] = {}

    @cached_property
    def prompts(self) -> dict[str, OraclePrompt]:
        """By the names of ``contract.KINDS``."""
        model = self.plain
        last = N_LAYERS - 1
        drawn = {
            "soft": soft(model, n_virtual=5, seed=101),
            "soft-short": soft(model, n_virtual=2, seed=102),
            "deep-local": deep(model, layers=(0, last - 2, last), where="local", n_virtual=4, seed=103),
            "deep-carried": deep(model, layers=(1, last - 1), where="carried", n_virtual=3, seed=104),
            "prefix": prefix_of(model, ids=(1, 520, 9531)),
            "prefix-long": prefix_of(model, ids=(1, 4093, 198, 2683, 216, 33, 34, 2, 198, 1, 520)),
            "steering": steering(model, layers=(0, 20), seed=107),
        }
        return {name: self._rounded(prompt) for name, prompt in drawn.items()}

    def _rounded(self, prompt: OraclePrompt) -> OraclePrompt:
        scale = 1.0 if prompt.kind == "prefix" else EMBEDDING_STD
        tensors = {name: (scale * tensor).to(self.dtype) for name, tensor in prompt.tensors.items()}
        return OraclePrompt(prompt.kind, tensors, prompt.where)

    def load_prompt(self, sha256: str) -> Prompt:
        """The engine's loader; prompts are stored in float32."""
        prompt = self.prompts[sha256]
        return from_tensors({name: tensor.float() for name, tensor in prompt.tensors.items()}, where=prompt.where)

    def engine(self, limits: Limits | None = None) -> Engine:
        """A new engine over the hosted model."""
        return Engine(self.hosted, limits=limits or Limits(), load_prompt=self.load_prompt)

    def text_states(self, kind: str, ids: tuple[int, ...]) -> dict[str, Tensor]:
        """The oracle's states of the text, from one forward over all of it."""
        if (kind, ids) not in self._states:
            prompt = self.prompts.get(kind)
            n_front = prompt.n_virtual if prompt is not None and prompt.kind != "prefix" else 0
            states = oracle_states(self.plain, self.parts, ids, prompt)
            self._states[kind, ids] = {name: tensor[n_front:] for name, tensor in states.items()}
        return self._states[kind, ids]


def encoded(world: RealWorld, text: str) -> tuple[int, ...]:
    """Token ids of a text."""
    return tuple(world.hosted.tokenizer(text)["input_ids"])


def cases(world: RealWorld, kinds: tuple[str, ...], texts: tuple[str, ...]) -> list[Case]:
    """Each text under each kind of prompt."""
    return [Case(kind, encoded(world, text)) for kind in kinds for text in texts]
