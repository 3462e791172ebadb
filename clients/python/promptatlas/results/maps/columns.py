"""The columns of points as a server sends them: safetensors, texts by number.

A column of texts ``name`` is three tensors: ``name`` has for each point the number of its text, −1 for none;
``name.bytes`` all texts, UTF-8, one behind the other; ``name.offsets`` where each begins, and where the last one ends.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pydantic

from promptatlas.errors import UnexpectedAnswerError
from promptatlas.results.tensors.tensor_file import TensorFile
from promptatlas.transport.files import Received

AXES = ("x", "y", "z")
TEXTS = ("source", "role", "text", "token", "group", "task", "prompt")
NO_POSITION = -(2**31)

Column = npt.NDArray[Any]
Columns = Mapping[str, Column]


def read_columns(received: Received) -> tuple[dict[str, Column], dict[str, Any]]:
    """The columns in a file that came, and what its header tells.

    Raises:
        UnexpectedAnswerError: they are not what the contract says.
    """
    file = TensorFile(received.path, temporary=received.temporary)
    try:
        return _columns(file), json.loads(file.metadata.get("promptatlas", "{}"))
    except (KeyError, ValueError, IndexError) as error:
        raise UnexpectedAnswerError(f"expected the columns of a map's points, got {file.names}: {error}") from error
    finally:
        file.close()


def parse_facts(model: type[pydantic.BaseModel], facts: Mapping[str, Any]) -> Any:
    """What a header tells, checked."""
    try:
        return model.model_validate(facts)
    except pydantic.ValidationError as error:
        raise UnexpectedAnswerError(f"expected a {model.__name__} in the header of the points: {error}") from error


def _columns(file: TensorFile) -> dict[str, Column]:
    columns = {name: np.array(file.array(name), np.float32) for name in AXES if name in file.names}
    columns["layer"] = np.array(file.array("layer"), np.int32)
    positions = np.array(file.array("position"), np.int64)
    columns["position"] = np.where(positions == NO_POSITION, np.nan, positions.astype(np.float64))
    columns |= {name: text_column(file, name) for name in TEXTS}
    if not {"x", "y"} <= columns.keys() or len({len(column) for column in columns.values()}) != 1:
        raise ValueError("expected x, y, … of one length")
    return columns


def text_column(file: TensorFile, name: str) -> Column:
    """A column of texts, None where there is none; KeyError, ValueError or IndexError when it is of another form."""
    joined = file.array(f"{name}.bytes").tobytes()
    offsets = file.array(f"{name}.offsets").tolist()
    texts = [joined[start:end].decode() for start, end in pairwise(offsets)]
    codes = file.array(name)
    if not ((codes >= -1) & (codes < len(texts))).all():
        raise ValueError(f"{name}: expected numbers of {len(texts)} texts")
    found: Column = np.array([*texts, None], dtype=object)[codes]
    return found
