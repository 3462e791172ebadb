"""SmolLM2-135M-Instruct for every side: the same weights, dequantised from the GGUF file and rounded to bfloat16 once."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from benchmarks.measuring.contest import Unavailable
from demo.models.smollm2 import PATH
from service.engine.model.dtype import NO_BFLOAT16
from service.engine.model.files.converted import gguf_revision, open_converted
from service.engine.model.files.revisions import Revisions
from service.engine.model.hosted_model import HostedModel
from service.engine.model.layers.cpu import has_fast_bfloat16

LABEL: Final = "SmolLM2-135M-Instruct, bfloat16"
DTYPE: Final = torch.bfloat16
N_LAYERS: Final = 30
END_OF_TEXT: Final = 2
CACHE: Final = PATH.parent / ".cache"
"""Of the converted file."""


def model_file() -> Path:
    """The GGUF file.

    Raises:
        Unavailable: it is missing, or the CPU emulates bfloat16, at about a hundredth of the speed of float32.
    """
    if not has_fast_bfloat16():
        raise Unavailable(NO_BFLOAT16)
    if not PATH.is_file():
        raise Unavailable(f"there is no {PATH.name} in models/; `make smollm2` fetches it")
    return PATH


def model_folder() -> Path:
    """The file as a folder of transformers in bfloat16, converted once.

    Raises:
        Unavailable: as of ``model_file``.
    """
    file = str(model_file())
    revision = gguf_revision(file, revisions=Revisions(CACHE / "revisions"))
    with open_converted(file, revision=revision, dtype=DTYPE, cache=CACHE) as folder:
        return folder


def load_hosted() -> HostedModel:
    """The engine's model."""
    return HostedModel.load("smollm2", str(model_folder()), device="cpu", dtype="bfloat16")


def load_plain() -> Any:
    """The model of transformers with its default attention. Generation never stops at an end of text."""
    module = AutoModelForCausalLM.from_pretrained(model_folder(), dtype=DTYPE)
    module.generation_config.eos_token_id = None
    module.generation_config.pad_token_id = 0
    return module.eval().requires_grad_(False)


def load_exact() -> Any:
    """The same bfloat16 weights, computed in float32: the reference for rounding errors."""
    return load_plain().float()


def vocabulary_prompts(module: Any, n: int, *, n_virtual: int, seed: int) -> list[Tensor]:
    """Vectors `[n_virtual, d_model]`, float32: embeddings of random tokens."""
    generator = torch.Generator().manual_seed(seed)
    table = module.get_input_embeddings().weight
    draws = [torch.randint(len(table), (n_virtual,), generator=generator) for _ in range(n)]
    return [table[ids].detach().float() for ids in draws]
