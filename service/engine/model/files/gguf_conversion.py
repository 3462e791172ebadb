"""Conversion of a GGUF file to a folder with dequantised weights, configuration and tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModelForCausalLM

from service.engine.model.files.gguf_header import GgufHeader, read_header
from service.engine.model.files.gguf_tokenizer import gguf_tokenizer
from service.errors import UnsupportedModel

CONVERSION = 1
"""Version of this conversion: part of the names of converted folders. To be raised with every change of its results."""


def convert(file: Path, folder: Path, *, dtype: torch.dtype, label: str) -> None:
    """Write a folder that ``from_pretrained`` reads, with the weights dequantised in float32 and rounded to ``dtype``.

    Args:
        folder: exists and is empty.
        label: name of the file in error messages.

    Raises:
        UnsupportedModel: the file is damaged, or not supported.
        OSError: the folder cannot be written.
    """
    header = read_header(file, label=label)
    try:
        with _without_progress_bars():
            tokenizer = gguf_tokenizer(file, header, label=label)
            module = _module(file, header, dtype=dtype, label=label)
    except UnsupportedModel:
        raise
    except Exception as error:  # the content of the file decides which type of error transformers raises
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UnsupportedModel(f"{label}: cannot be converted from GGUF ({reason}).") from error
    with _without_progress_bars():
        module.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _module(file: Path, header: GgufHeader, *, dtype: torch.dtype, label: str) -> Any:
    config = AutoConfig.from_pretrained(file.parent, gguf_file=file.name)
    if config.is_encoder_decoder:
        raise UnsupportedModel(
            f"{label}: expected a decoder-only model, got {config.model_type}, which is an encoder-decoder."
        )
    module, loading = AutoModelForCausalLM.from_pretrained(
        file.parent,
        gguf_file=file.name,
        config=config,
        dtype=dtype,
        quantization_config=transformers.GgufConfig(dequantize=True),
        output_loading_info=True,
    )
    if missing := sorted(loading["missing_keys"]):
        raise UnsupportedModel(f"{label}: expected all weights of a {config.model_type}, {missing[0]} is missing.")
    if header.end_ids:
        module.generation_config.eos_token_id = header.end_ids
    module.config.name_or_path = ""
    return module


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    import transformers.modeling_gguf_pytorch_utils as legacy

    shown, bar = transformers.logging.is_progress_bar_enabled(), legacy.tqdm
    transformers.logging.disable_progress_bar()
    # This module uses tqdm itself, and ignores the setting.
    legacy.tqdm = lambda items, **_: items
    try:
        yield
    finally:
        legacy.tqdm = bar
        if shown:
            transformers.logging.enable_progress_bar()
