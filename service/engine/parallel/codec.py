"""Codec of the messages between ranks: msgpack over a closed set of types. Decoding imports nothing and calls no named function.

Both ends run the same version of the service, so a record is its tag and its field values in order of declaration.
"""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import msgpack
import torch

from service.engine.parallel import messages

RECORDS: tuple[type, ...] = (
    *(messages.LoadModel, messages.Forward, messages.BatchTokens, messages.SequenceTokens, messages.RecordedTokens),
    *(messages.ResizeCache, messages.LoadPrompts, messages.MoveSlot, messages.CompilePrompt, messages.ReadPrompt),
    *(messages.CollectPrompt, messages.ForgetPrompts, messages.CheckLens, messages.ReadLens, messages.ReadVocabulary),
)
"""Dataclasses that may appear in a message; the position is the tag."""

DTYPES = {
    str(kind).removeprefix("torch."): kind for kind in (torch.float32, torch.bfloat16, torch.float16, torch.int64)
}

_TENSOR, _RECORD = 1, 2
_TAGS = {kind: tag for tag, kind in enumerate(RECORDS)}


def encode(model: int, message: messages.Message) -> bytes:
    """The bytes of a message to the model with this number.

    Raises:
        TypeError: the message contains a value of another type.
    """
    return msgpack.packb([model, message], default=_pack)  # type: ignore[no-any-return]


def decode(data: bytes | bytearray) -> tuple[int, messages.Message]:
    """The number of the model, and the message.

    Raises:
        ValueError: ``data`` is no encoded message.
    """
    found = _unpackb(data)
    if not (isinstance(found, tuple) and len(found) == 2 and isinstance(found[0], int) and type(found[1]) in _TAGS):
        raise ValueError(f"expected a message between ranks, got {len(data)} other bytes.")
    return found


def _pack(value: object) -> msgpack.ExtType:
    if isinstance(value, torch.Tensor):
        name = str(value.dtype).removeprefix("torch.")
        if name not in DTYPES:
            raise TypeError(f"expected a tensor of {', '.join(DTYPES)}, got {name}.")
        content = value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
        return msgpack.ExtType(_TENSOR, msgpack.packb([name, list(value.shape), content]))
    if (tag := _TAGS.get(type(value))) is not None:
        values = [getattr(value, field.name) for field in fields(value)]  # type: ignore[arg-type]
        return msgpack.ExtType(_RECORD, msgpack.packb([tag, *values], default=_pack))
    raise TypeError(f"expected a value of a type that messages may contain, got {type(value).__name__}.")


def _unpack(kind: int, data: bytes) -> Any:
    if kind == _TENSOR:
        name, shape, content = _unpackb(data)
        if math.prod(shape) == 0:
            return torch.empty(shape, dtype=DTYPES[name])
        return torch.frombuffer(bytearray(content), dtype=DTYPES[name]).reshape(shape)
    if kind != _RECORD:
        raise ValueError(f"unknown extension type {kind}.")
    tag, *values = _unpackb(data)
    record = RECORDS[tag]
    return record(**{field.name: value for field, value in zip(fields(record), values, strict=True)})


def _unpackb(data: bytes | bytearray) -> Any:
    return msgpack.unpackb(data, ext_hook=_unpack, use_list=False, strict_map_key=False)
