"""``prompt_embeds`` of completions: base64 of a safetensors file, or of torch's zip as clients of vLLM send it."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
from promptatlas.types import CompletionRequest

from service.api.openai.torch_file import ZIP_MAGIC, read_torch_file
from service.engine.inputs import Vectors
from service.errors import InvalidRequest, TooLarge
from service.store.artifacts.tensor_codec import decode

Floats = npt.NDArray[np.float32]

_PICKLE_PROTOCOL: Final = b"\x80"
_DTYPES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


async def vectors_of(spec: CompletionRequest, *, card: Mapping[str, Any]) -> tuple[Vectors, ...]:
    """The inputs of ``prompt_embeds``, in order; none if the field is not given.

    Args:
        card: of the base model.

    Raises:
        InvalidRequest: a value is no such file, or does not fit the model.
    """
    given = spec.prompt_embeds
    if given is None:
        return ()
    return await asyncio.to_thread(
        _read_all, [given] if isinstance(given, str) else given, card, isinstance(given, str)
    )


def _read_all(given: Sequence[str], card: Mapping[str, Any], is_single: bool) -> tuple[Vectors, ...]:
    found = []
    for i, text in enumerate(given):
        try:
            values = read_embeds(text, card=card)
        except (InvalidRequest, TooLarge) as error:
            loc = ("prompt_embeds",) if is_single else ("prompt_embeds", i)
            raise InvalidRequest(error.detail, loc=loc) from None
        found.append(Vectors(values=cast(Any, values)))
    return tuple(found)


def read_embeds(text: str, *, card: Mapping[str, Any]) -> Floats:
    """The vectors `[n, d_model]` in one value of ``prompt_embeds``, float32 and finite.

    Raises:
        InvalidRequest, TooLarge: the value is no such file, or does not fit the model.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest(
            "Expected base64 of a safetensors file or of torch.save(tensor), got other text."
        ) from None
    if data.startswith(ZIP_MAGIC):
        tensor = read_torch_file(data)
        _check_shape(tensor.shape, card=card)
        values = tensor.values()
    elif data.startswith(_PICKLE_PROTOCOL):
        raise InvalidRequest("Expected the zip file of torch.save(tensor), got a plain pickle, which is not read.")
    else:
        values = _read_safetensors(data, card=card)
    values = values.reshape(values.shape[-2:])
    _check_values(values, dtype=card["dtype"])
    return values


def _read_safetensors(data: bytes, *, card: Mapping[str, Any]) -> Floats:
    file = decode(data)
    if len(file.tensors) != 1:
        raise InvalidRequest(f"Expected a safetensors file with one tensor, got {len(file.tensors)}.")
    ((name, values),) = file.tensors.items()
    if file.dtypes[name] not in _DTYPES:
        raise InvalidRequest(f"Expected a tensor of float32, float16 or bfloat16, got one of {file.dtypes[name]}.")
    _check_shape(values.shape, card=card)
    return np.ascontiguousarray(values, dtype=np.float32)


def _check_shape(shape: tuple[int, ...], *, card: Mapping[str, Any]) -> None:
    d_model, n_positions = card["d_model"], card["n_positions"]
    if len(shape) not in (2, 3) or shape[-1] != d_model or (len(shape) == 3 and shape[0] != 1) or shape[-2] < 1:
        raise InvalidRequest(
            f"Expected shape [n, {d_model}] or [1, n, {d_model}] with n at least 1, the width of this model's embeddings, "
            f"got {list(shape)[:8]}."
        )
    if shape[-2] > n_positions:
        raise InvalidRequest(f"Expected at most {n_positions} vectors, the model's context, got {shape[-2]}.")


def _check_values(values: Floats, *, dtype: str) -> None:
    if not np.isfinite(values).all():
        raise InvalidRequest("Expected finite numbers, got NaN or infinity.")
    if dtype == "float16" and np.abs(values).max() > np.finfo(np.float16).max:
        raise InvalidRequest("Expected numbers that float16, the type of this model, represents; got larger ones.")
