"""Rows as a pandas DataFrame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from promptatlas.results.optional import import_optional
from promptatlas.results.tensors.tensor_file import Array

if TYPE_CHECKING:
    import pandas


def frame(about: Mapping[str, Array | None], tensors: Mapping[str, Array]) -> pandas.DataFrame:
    """The columns ``about`` each row, then the values of the tensors.

    Raises:
        ImportError: pandas is not installed.
        ValueError: a tensor has more than two axes.
    """
    pd = import_optional("pandas", extra="pandas")
    parts = [pd.DataFrame({name: column for name, column in about.items() if column is not None})]
    for name, values in tensors.items():
        if values.ndim > 2:
            raise ValueError(f"{name}: expected [n_rows] or [n_rows, d] for a frame, got {list(values.shape)}")
        columns = [name] if values.ndim == 1 else [f"{name}.{index}" for index in range(values.shape[1])]
        parts.append(pd.DataFrame(values, columns=columns))
    joined: pandas.DataFrame = pd.concat(parts, axis=1)
    return joined
