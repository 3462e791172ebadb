"""A safetensors file whose tensors are memory-mapped on access, including bfloat16."""

from __future__ import annotations

import json
import shutil
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import safetensors

from promptatlas.errors import UnexpectedAnswerError

if TYPE_CHECKING:
    import torch

Array = npt.NDArray[Any]

_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    # numpy has no bfloat16: its bits are the upper half of a float32's.
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "<i1",
    "U8": "<u1",
    "BOOL": "?",
}


class TensorFile:
    """Reads tensors, or rows of them, without reading the rest of the file.

    Args:
        path: a safetensors file.
        temporary: delete the file on close, or when this object is garbage collected.

    Raises:
        UnexpectedAnswerError: the file is not a complete safetensors file.
    """

    def __init__(self, path: Path, *, temporary: bool) -> None:
        self.path = path
        self._delete = weakref.finalize(self, path.unlink, missing_ok=True) if temporary else None
        self._closed = False
        try:
            # safetensors validates the header, but cannot read bfloat16 into numpy.
            with safetensors.safe_open(path, framework="numpy") as checked:
                self.metadata: dict[str, str] = checked.metadata() or {}
        except safetensors.SafetensorError as error:
            self.close()
            raise UnexpectedAnswerError(f"expected a whole safetensors file: {error}") from error
        self._start, self._header = _header(path)

    @property
    def names(self) -> list[str]:
        """Names of the tensors."""
        return list(self._header)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, without reading it."""
        return tuple(self._header[name]["shape"])

    def dtype(self, name: str) -> str:
        """The dtype of a tensor in safetensors's notation, e.g. ``BF16``."""
        return str(self._header[name]["dtype"])

    def array(self, name: str, *, rows: slice = slice(None)) -> Array:
        """Rows of a tensor, memory-mapped and read-only. bfloat16 is converted to float32, which is exact."""
        self._check_open()
        mapped = self._mapped(name)[rows]
        if self.dtype(name) != "BF16":
            return mapped
        return (mapped.astype(np.uint32) << 16).view(np.float32)

    def tensor(self, name: str, *, rows: slice = slice(None)) -> torch.Tensor:
        """Rows of a tensor as a torch tensor, in the dtype of the file."""
        self._check_open()
        try:
            import torch
        except ImportError as error:
            raise ImportError("expected torch to be installed; index the result for numpy arrays") from error
        mapped = self._mapped(name)[rows]
        # torch would make a read-only mapping writable, so the rows are copied.
        tensor = torch.from_numpy(np.array(mapped))
        return tensor.view(torch.bfloat16) if self.dtype(name) == "BF16" else tensor

    def copy_to(self, path: Path) -> Path:
        """Copies the file."""
        self._check_open()
        shutil.copyfile(self.path, path)
        return path

    def close(self) -> None:
        """Deletes the file if it is temporary. Arrays read before stay valid."""
        self._closed = True
        if self._delete is not None:
            self._delete()

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError("the result is closed: read its tensors before closing it, or save() it")

    def _mapped(self, name: str) -> Array:
        entry = self._header[name]
        shape = tuple(entry["shape"])
        dtype = np.dtype(_DTYPES[entry["dtype"]])
        if 0 in shape:  # an empty file range cannot be mapped
            return np.empty(shape, dtype)
        offset = self._start + entry["data_offsets"][0]
        return np.asarray(np.memmap(self.path, dtype=dtype, mode="r", offset=offset, shape=shape))


def _header(path: Path) -> tuple[int, dict[str, Any]]:
    """Offset of the first tensor, and the entry of each tensor. The header has been validated."""
    with path.open("rb") as file:
        n_bytes = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(n_bytes))
    header.pop("__metadata__", None)
    return 8 + n_bytes, header
