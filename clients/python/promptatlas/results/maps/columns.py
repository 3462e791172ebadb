"""Columns of points in a safetensors file.

A column of texts is encoded as described in ``promptatlas.results.tensors.text_columns``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pydantic

from promptatlas.errors import UnexpectedAnswerError
from promptatlas.results.tensors.tensor_file import TensorFile
from promptatlas.results.tensors.text_columns import text_column
from promptatlas.transport.files import Received

AXES = ("x", "y", "z")
TEXTS = ("source", "role", "text", "token", "group", "task", "prompt")
NO_POSITION = -(2**31)

HeaderT = TypeVar("HeaderT", bound=pydantic.BaseModel)

Column = npt.NDArray[Any]
Columns = Mapping[str, Column]


def read_columns(received: Received) -> tuple[dict[str, Column], dict[str, Any]]:
    """The columns in a received file, and the JSON of its header.

    Raises:
        UnexpectedAnswerError: the file does not have the expected columns.
    """
    file = TensorFile(received.path, temporary=received.temporary)
    try:
        return _columns(file), json.loads(file.metadata.get("promptatlas", "{}"))
    except (KeyError, ValueError, IndexError) as error:
        raise UnexpectedAnswerError(f"expected the columns of a map's points, got {file.names}: {error}") from error
    finally:
        file.close()


def parse_header(model: type[HeaderT], header: Mapping[str, Any]) -> HeaderT:
    """The validated header of a file. Raises UnexpectedAnswerError."""
    try:
        return model.model_validate(header)
    except pydantic.ValidationError as error:
        raise UnexpectedAnswerError(f"expected a {model.__name__} in the header of the points: {error}") from error


def _columns(file: TensorFile) -> dict[str, Column]:
    columns = {name: np.array(file.array(name), np.float32) for name in AXES if name in file.names}
    columns["layer"] = np.array(file.array("layer"), np.int32)
    positions = np.array(file.array("position"), np.int64)
    columns["position"] = np.where(positions == NO_POSITION, np.nan, positions.astype(np.float64))
    columns |= {name: text_column(file, name) for name in TEXTS}
    if not {"x", "y"} <= columns.keys() or len({len(column) for column in columns.values()}) != 1:
        raise ValueError("expected x, y, … of equal length")
    return columns
