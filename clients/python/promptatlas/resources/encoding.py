"""Encoding of Python values in request bodies: JSON, validated against the contract, and float32 arrays."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pydantic
import safetensors.numpy

from promptatlas.errors import InvalidRequestError
from promptatlas.transport.call import Body
from promptatlas.types import ProblemItem, RequestBody

Floats = npt.NDArray[np.float32]


def checked(model: type[RequestBody], fields: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON of a request, validated before it is sent. It contains only the fields that were given.

    Raises:
        InvalidRequestError: a field is invalid; ``errors`` has the same entries as the server's response would have.
    """
    try:
        body = model.model_validate(plain(fields))
    except pydantic.ValidationError as error:
        raise invalid(error) from error
    return body.model_dump(mode="json", exclude_unset=True, by_alias=True)


def invalid(error: pydantic.ValidationError) -> InvalidRequestError:
    """The error of a failed validation, equal to the one that the server would respond with."""
    items = [ProblemItem(loc=list(fault["loc"]), msg=fault["msg"]) for fault in error.errors(include_url=False)]
    return InvalidRequestError("Invalid request", status=422, title="Invalid request", errors=items)


def json_bytes(content: Mapping[str, Any]) -> bytes:
    """UTF-8 JSON. Raises ValueError for NaN and infinity."""
    return json.dumps(content, ensure_ascii=False, allow_nan=False).encode()


def json_body(content: Mapping[str, Any]) -> Body:
    """A JSON body."""
    return Body(content=json_bytes(content))


def as_floats(value: Any) -> Floats:
    """An array, a torch tensor on any device, or nested lists as float32 in C order."""
    if hasattr(value, "detach"):
        # numpy supports neither gradients nor devices nor bfloat16.
        value = value.detach().cpu().float().numpy()
    return np.ascontiguousarray(value, dtype=np.float32)


def embeds_text(value: Any) -> str:
    """Vectors `[n, d_model]` or `[1, n, d_model]` as base64 of a safetensors file; a text is such base64 already.

    float16 stays float16; other types of numbers become float32.
    """
    if isinstance(value, str):
        return value
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        is_half = str(value.dtype) == "torch.float16"
        value = (value if is_half else value.float()).numpy()
    array = np.asarray(value)
    kept = np.ascontiguousarray(array, dtype=None if array.dtype == np.float16 else np.float32)
    return base64.b64encode(safetensors.numpy.save({"prompt_embeds": kept})).decode()


def plain(value: Any) -> Any:
    """``value`` with arrays, tuples, ranges, slices and pydantic models converted to JSON's lists and objects."""
    if hasattr(value, "tolist"):  # numpy's arrays and numbers, torch's tensors
        return value.tolist()
    if isinstance(value, pydantic.BaseModel):
        return _plain_model(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, slice):
        return _plain_slice(value)
    if isinstance(value, (Sequence, range)) and not isinstance(value, (str, bytes)):
        # Long lists of token ids are common: avoid a call for each element.
        return [item if type(item) in (int, str, float) else plain(item) for item in value]
    return value


def _plain_model(value: pydantic.BaseModel) -> dict[str, Any]:
    # Defaults are left to the server, except for `kind`: it selects the type, so it is always sent.
    fields = type(value).model_fields
    given = [name for name in fields if name in value.model_fields_set or name == "kind"]
    return {fields[name].alias or name: plain(getattr(value, name)) for name in given}


def _plain_slice(value: slice) -> dict[str, Any]:
    if value.step not in (None, 1):
        raise ValueError(f"positions: expected a slice of step 1, got step {value.step}")
    return {"start": value.start, "stop": value.stop}
