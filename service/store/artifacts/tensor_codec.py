"""Tensor codec: NumPy arrays to safetensors bytes and back, with the ``promptatlas`` JSON of the header.

The safetensors library checks that offsets, sizes and shapes are consistent. This module also rejects duplicate names,
oversized headers and dtypes that NumPy lacks. bfloat16 is decoded as float32, which represents it exactly.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from service.errors import InvalidRequest, TooLarge

MAX_HEADER_BYTES = 4 << 20
MAX_TENSORS = 4096

METADATA_KEY = "promptatlas"

_LENGTH_BYTES = 8
_DTYPES: Mapping[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class TensorFile:
    """Content of a safetensors file.

    tensors: read-only arrays by name, bfloat16 widened to float32. dtypes: as in the file, e.g. ``BF16``.
    metadata: the JSON under ``promptatlas``, None if the header has none.
    """

    tensors: Mapping[str, Array]
    dtypes: Mapping[str, str]
    metadata: Any = None


def encode(tensors: Mapping[str, Array], *, metadata: object = None) -> bytes:
    """Encode as safetensors; deterministic.

    Args:
        tensors: Arrays of any dtype that both safetensors and NumPy have.
        metadata: Written as JSON under ``promptatlas``; None for no metadata.
    """
    contiguous = {name: np.asarray(tensors[name], order="C") for name in sorted(tensors)}
    header = None if metadata is None else {METADATA_KEY: json.dumps(metadata, sort_keys=True, allow_nan=False)}
    return safetensors.numpy.save(contiguous, metadata=header)


def decode(data: bytes) -> TensorFile:
    """Parse and validate a safetensors file.

    Raises:
        InvalidRequest: It is not a valid safetensors file.
        TooLarge: The header or the number of tensors is over the limit.
    """
    header = _header_of(data)
    extra = header.pop("__metadata__", {})
    if len(header) > MAX_TENSORS:
        raise TooLarge(f"The file has {len(header)} tensors; the limit is {MAX_TENSORS}.")
    parts = _parts_of(data)
    return TensorFile(
        tensors={name: _array_of(name, part) for name, part in parts},
        dtypes={name: part["dtype"] for name, part in parts},
        metadata=_metadata_of(extra),
    )


def parse_json(text: str | bytes, *, what: str) -> Any:
    """Parse untrusted JSON strictly: no duplicate names, no NaN or infinities, no text that is not valid UTF-8.

    Args:
        what: Subject of the error message, e.g. ``The header``.
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
        # Numbers like 1e999 and lone surrogates pass the parser and are rejected here.
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except RecursionError:
        raise InvalidRequest(f"{what} is nested too deeply.") from None
    except _DuplicateNameError as error:
        raise InvalidRequest(f"{what} has the name {str(error)[:80]!r} twice.") from None
    except ValueError:
        raise InvalidRequest(f"{what} is not valid JSON.") from None
    return value


class _DuplicateNameError(ValueError):
    """An object has a name twice."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _DuplicateNameError(Counter(name for name, _ in pairs).most_common(1)[0][0])
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(name)


def _header_of(data: bytes) -> dict[str, Any]:
    if len(data) < _LENGTH_BYTES:
        raise InvalidRequest(f"A safetensors file has at least {_LENGTH_BYTES} bytes; this file has {len(data)}.")
    n_bytes = int.from_bytes(data[:_LENGTH_BYTES], "little")
    n_left = len(data) - _LENGTH_BYTES
    if n_bytes > n_left:
        raise InvalidRequest(
            f"The safetensors file is truncated: it declares a header of {n_bytes} bytes, but has {n_left} bytes after it."
        )
    if n_bytes > MAX_HEADER_BYTES:
        raise TooLarge(f"The header has {n_bytes} bytes; the limit is {MAX_HEADER_BYTES}. Shorten its metadata.")
    header = parse_json(data[_LENGTH_BYTES : _LENGTH_BYTES + n_bytes], what="The safetensors header")
    if not isinstance(header, dict):
        raise InvalidRequest("The safetensors header must be a JSON object.")
    return header


def _parts_of(data: bytes) -> list[tuple[str, dict[str, Any]]]:
    """Names with dtype, shape and bytes, validated by the library."""
    deserialize: Callable[[bytes], list[tuple[str, dict[str, Any]]]] = safetensors.deserialize
    try:
        return deserialize(data)
    except safetensors.SafetensorError as error:
        reason = str(error).removeprefix("Error while deserializing: ").rstrip(".")[:200]
        raise InvalidRequest(f"This is not a valid safetensors file: {reason}.") from None


def _array_of(name: str, part: Mapping[str, Any]) -> Array:
    kind, shape = part["dtype"], tuple(part["shape"])
    data = bytes(part["data"])
    if kind == "BF16":
        high = np.frombuffer(data, dtype="<u2").astype("<u4") << np.uint32(16)
        widened = high.view("<f4").reshape(shape)
        widened.flags.writeable = False
        return widened
    dtype: np.dtype[Any] | None = _DTYPES.get(kind)
    if dtype is None:
        raise InvalidRequest(f"Tensor {name[:80]!r} has dtype {kind}, which is not supported; use float32.")
    return np.frombuffer(data, dtype=dtype).reshape(shape)


def _metadata_of(extra: Any) -> Any:
    if not isinstance(extra, dict):
        raise InvalidRequest("The header's __metadata__ must be an object of strings.")
    text = extra.get(METADATA_KEY)
    if text is None:
        return None
    if not isinstance(text, str):
        raise InvalidRequest(f"The header's {METADATA_KEY} metadata must be a string with JSON.")
    return parse_json(text, what=f"The header's {METADATA_KEY} metadata")
