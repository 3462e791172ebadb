"""The header of a GGUF file, checked before anything is converted: a wrong file is refused with one sentence."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import transformers

from service.errors import UnsupportedModel

MAGIC: Final = b"GGUF"
ROPE_TENSORS: Final = frozenset({"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"})
"""Scaled rotary frequencies. transformers ignores them, and the model would silently compute something else."""


@dataclass(frozen=True, kw_only=True)
class GgufHeader:
    """What a file says of its model.

    Attributes:
        architecture: ``general.architecture``.
        values: metadata by key; of lists of strings only the number.
        quantisations: types of its tensors, e.g. ``Q4_1``, sorted.
        n_parameters: numbers in all tensors.
    """

    architecture: str
    values: dict[str, Any]
    quantisations: tuple[str, ...]
    n_parameters: int

    @property
    def end_ids(self) -> list[int]:
        """Tokens that end a text or a turn, sorted."""
        names = ("eos_token_id", "eot_token_id", "eom_token_id")
        found = (self.values.get(f"tokenizer.ggml.{name}") for name in names)
        return sorted({int(token_id) for token_id in found if token_id is not None})


def is_gguf(path: str) -> bool:
    """Whether a model's path means a GGUF file: its name ends in ``.gguf``, or it is a file and no folder."""
    return path.lower().endswith(".gguf") or Path(path).expanduser().is_file()


def read_header(file: Path, *, label: str) -> GgufHeader:
    """Read and check the header.

    Args:
        label: name of the file in error messages.

    Raises:
        UnsupportedModel: it is no GGUF file or not complete, the package ``gguf`` is missing, or the architecture, a
            quantisation or scaled rotary frequencies are not supported.
    """
    _require_magic(file, label=label)
    _require_package(label=label)
    import gguf

    try:
        reader = gguf.GGUFReader(file)
        values = {key: _value(field) for key, field in reader.fields.items()}
        architecture = str(values["general.architecture"])
        examples = {tensor.tensor_type.name: tensor for tensor in reader.tensors}
    except Exception as error:  # the reader does not check lengths, so damage appears as any type
        raise UnsupportedModel(f"{label}: expected a complete GGUF file, got a damaged or truncated one.") from error
    _check_architecture(architecture, label=label)
    for name, tensor in sorted(examples.items()):
        _check_quantisation(name, tensor, label=label)
    _check_rope(values, {tensor.name for tensor in reader.tensors}, architecture=architecture, label=label)
    return GgufHeader(
        architecture=architecture,
        values=values,
        quantisations=tuple(sorted(examples)),
        n_parameters=sum(int(tensor.n_elements) for tensor in reader.tensors),
    )


def _require_magic(file: Path, *, label: str) -> None:
    try:
        with file.open("rb") as stream:
            found = stream.read(len(MAGIC))
    except OSError as error:
        raise UnsupportedModel(f"{label}: the file cannot be read ({error.strerror}).") from error
    if found != MAGIC:
        raise UnsupportedModel(f"{label}: expected a GGUF file, got a file without the bytes GGUF at its beginning.")


def _require_package(*, label: str) -> None:
    if find_spec("gguf") is None:
        raise UnsupportedModel(
            f"{label}: a GGUF file needs the package gguf, which is not installed: pip install 'promptatlas-server[gguf]'."
        )


def _check_architecture(architecture: str, *, label: str) -> None:
    from transformers.integrations.gguf import GGUF_CONFIG_ARCHS
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    known = {*GGUF_SUPPORTED_ARCHITECTURES, *GGUF_CONFIG_ARCHS} - {"general", "tokenizer"}
    # As transformers' own loader compares: several names of files differ from those of its table by these characters.
    if architecture.replace("-", "_") not in {name.replace("-", "_") for name in known} | {"qwen2moe", "qwen3moe"}:
        raise UnsupportedModel(
            f"{label}: transformers {transformers.__version__} does not read GGUF files of the architecture "
            f"{architecture!r}; it reads {', '.join(sorted(known))}."
        )


def _check_quantisation(name: str, tensor: Any, *, label: str) -> None:
    import gguf

    try:
        gguf.dequantize(tensor.data[:1], tensor.tensor_type)
    except NotImplementedError as error:
        raise UnsupportedModel(f"{label}: the quantisation {name} of its tensors is not supported.") from error


def _check_rope(values: dict[str, Any], tensors: set[str], *, architecture: str, label: str) -> None:
    scaling = values.get(f"{architecture}.rope.scaling.type", "none")
    # Of gpt-oss, transformers reads the scaling from the metadata.
    if architecture == "gpt-oss" or (scaling == "none" and not tensors & ROPE_TENSORS):
        return
    raise UnsupportedModel(
        f"{label}: scaled rotary embeddings ({', '.join([*sorted(tensors & ROPE_TENSORS), f'scaling {scaling}'])}) are "
        "not supported in GGUF files; use the folder of the original weights."
    )


def _value(field: Any) -> Any:
    content_type = field.types[0].name if field.types else ""
    if content_type == "ARRAY" and len(field.types) > 1 and field.types[1].name == "STRING":
        return len(field.data)
    return field.contents()
