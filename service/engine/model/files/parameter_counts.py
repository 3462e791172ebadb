"""Number of a model's parameters, from headers: no weights are read."""

from __future__ import annotations

import math
from pathlib import Path

import transformers
from safetensors import SafetensorError, safe_open

from service.engine.model.files.gguf_conversion import CONVERSION
from service.engine.model.files.gguf_header import read_header


def count_in_folder(folder: Path) -> int | None:
    """Parameters in the safetensors files of a folder; None if there are none or one is damaged."""
    try:
        return sum(map(_count, sorted(folder.glob("*.safetensors")))) or None
    except (OSError, SafetensorError):
        return None


def _count(file: Path) -> int:
    with safe_open(file, framework="np") as tensors:
        return sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118


def count_in_gguf(path: str, *, revision: str, cache: Path | None) -> int | None:
    """Parameters of a GGUF file. A conversion in the cache is read in milliseconds, the file's header in seconds.

    Raises:
        UnsupportedModel: the file cannot be converted.
    """
    converted = [] if cache is None else (cache / "gguf").glob(f"{revision}-*-{transformers.__version__}-{CONVERSION}")
    for folder in converted:
        if (n := count_in_folder(folder)) is not None:
            return n
    return read_header(Path(path).expanduser(), label=path).n_parameters
