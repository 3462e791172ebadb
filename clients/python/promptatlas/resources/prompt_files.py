"""Files that prompts are uploaded as: native safetensors, or a zip of a PEFT adapter."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.numpy

from promptatlas.errors import UnsafeFileError
from promptatlas.resources.encoding import as_floats, checked
from promptatlas.transport.call import SAFETENSORS, Body
from promptatlas.types import PromptHeader
from promptatlas.types.forms import PromptKind, kind_of

ZIP = "application/zip"
_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
# The oldest time that a zip can store, for every file, so that the same adapter gives the same bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)


def prompt_file(
    *,
    tensors: Mapping[str, Any] | None,
    path: str | Path | None,
    peft_dir: str | Path | None,
    header: Mapping[str, Any],
) -> Body:
    """The file to upload, from the one source that is not None.

    Args:
        header: ``base``, ``where`` and ``notes`` for tensors; a file or an adapter contains its own.

    Raises:
        ValueError: not exactly one source was given, or the tensors have other names.
    """
    given = [
        name for name, value in (("tensors", tensors), ("path", path), ("peft_dir", peft_dir)) if value is not None
    ]
    if len(given) != 1:
        raise ValueError(f"expected one of tensors, path and peft_dir, got {' and '.join(given) or 'none'}")
    if tensors is not None:
        return _native_file(tensors, header)
    if peft_dir is not None:
        return Body(content=_adapter_zip(Path(peft_dir)), content_type=ZIP)
    file = Path(str(path))
    return Body(content=file.read_bytes(), content_type=ZIP if file.suffix == ".zip" else SAFETENSORS)


def _native_file(tensors: Mapping[str, Any], header: Mapping[str, Any]) -> Body:
    fields = {name: value for name, value in header.items() if value is not None}
    checked_header = checked(PromptHeader, {**fields, "kind": _kind_of(tensors)})
    arrays = {name: as_floats(value) for name, value in tensors.items()}
    return Body(
        content=safetensors.numpy.save(arrays, metadata={"promptatlas": json.dumps(checked_header)}),
        content_type=SAFETENSORS,
    )


def _kind_of(tensors: Mapping[str, Any]) -> PromptKind:
    try:
        return kind_of(tensors)
    except ValueError as error:
        raise ValueError(f"tensors: {error}") from None


def _adapter_zip(folder: Path) -> bytes:
    missing = [name for name in _ADAPTER_FILES if not (folder / name).is_file()]
    if missing == ["adapter_model.safetensors"] and (folder / "adapter_model.bin").exists():
        raise UnsafeFileError(
            "expected adapter_model.safetensors, got adapter_model.bin, which is a pickle: save it as safetensors"
        )
    if missing:
        raise FileNotFoundError(f"expected a PEFT adapter with {' and '.join(_ADAPTER_FILES)}, missing: {missing}")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in _ADAPTER_FILES:
            archive.writestr(zipfile.ZipInfo(name, date_time=_EPOCH), (folder / name).read_bytes())
    return buffer.getvalue()
