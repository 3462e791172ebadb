"""Prompts in stored files of the native format, which were checked when they were stored."""

from __future__ import annotations

from promptatlas.types.prompts import PromptHeader
from pydantic import ValidationError

from service.errors import DamagedArtifact, InvalidRequest, TooLarge
from service.store.artifacts.tensor_codec import TensorFile, decode
from service.store.prompts.native_format import PromptContent, PromptFile


def read_stored(data: bytes, *, label: str, n_virtual: int, d_model: int, layers: tuple[int, ...] | None) -> PromptFile:
    """The prompt in a stored file of ``to_bytes``. Raises DamagedArtifact if the file is not a native prompt."""
    file, header = _decode_stored(data, label=label)
    return PromptFile(
        kind=header.kind,
        tensors={name: file.tensors[name] for name in sorted(file.tensors)},
        base=header.base,
        base_revision=header.base_revision or "",
        n_virtual=n_virtual,
        d_model=d_model,
        layers=layers,
        where=header.where,
        notes=header.notes,
        member_kind=header.member_kind,
        normal=header.normal,
    )


def read_content(data: bytes, *, sha256: str, label: str) -> PromptContent:
    """The content of a stored file of ``to_bytes``. Raises DamagedArtifact unless it has the content hash ``sha256``."""
    file, header = _decode_stored(data, label=label)
    content = PromptContent(
        kind=header.kind,
        tensors=file.tensors,
        where=header.where,
        member_kind=header.member_kind,
        normal=header.normal,
    )
    if content.sha256 != sha256:
        raise DamagedArtifact(f"{label} is damaged: its content does not match its hash.")
    return content


def _decode_stored(data: bytes, *, label: str) -> tuple[TensorFile, PromptHeader]:
    try:
        file = decode(data)
        return file, PromptHeader.model_validate(file.metadata)
    except (InvalidRequest, TooLarge, ValidationError):
        raise DamagedArtifact(f"{label} is damaged: its file is not a native prompt.") from None
