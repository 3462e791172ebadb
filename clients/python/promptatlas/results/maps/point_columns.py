"""Columns of the points of a map, as arrays or as a pandas frame."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from promptatlas.results.maps.columns import AXES, Column, Columns
from promptatlas.results.optional import import_optional

if TYPE_CHECKING:
    import pandas

Floats = npt.NDArray[np.float32]
Texts = npt.NDArray[np.object_]


class PointColumns:
    """Points in columns of equal length. A column of texts is an object array of str and None.

    Args:
        columns: arrays `[n]` by name.
        axis_names: label of each axis, by layer.
    """

    def __init__(self, columns: Columns, *, axis_names: Mapping[int, Mapping[str, str]] | None = None) -> None:
        self._columns = dict(columns)
        self._axis_names = dict(axis_names or {})

    @property
    def x(self) -> Floats:
        """First coordinate, `[n]`."""
        return self._columns["x"]

    @property
    def y(self) -> Floats:
        """Second coordinate, `[n]`."""
        return self._columns["y"]

    @property
    def z(self) -> Floats | None:
        """Third coordinate, `[n]`; None if the map has two."""
        return self._columns.get("z")

    @property
    def coordinates(self) -> Floats:
        """All coordinates, `[n, 2 or 3]`."""
        return np.stack([self._columns[axis] for axis in AXES if axis in self._columns], axis=1)

    @property
    def layer(self) -> npt.NDArray[np.int32]:
        """Layer of each point: 0 are the embeddings, l is the input of block l."""
        return self._columns["layer"]

    @property
    def position(self) -> npt.NDArray[np.float64]:
        """Index of the token, negative for virtual tokens; training step of a snapshot. NaN for points with neither."""
        return self._columns["position"]

    @property
    def source(self) -> Texts:
        """Name of each point's source."""
        return self._columns["source"]

    @property
    def role(self) -> Texts:
        """``state``, ``embedding``, ``draw``, ``snapshot``, ``posterior`` or ``placed``."""
        return self._columns["role"]

    @property
    def text(self) -> Texts:
        """The text that the point represents or is part of."""
        return self._columns["text"]

    @property
    def token(self) -> Texts:
        """The token that the point represents."""
        return self._columns["token"]

    @property
    def group(self) -> Texts:
        """Points of one group form a sequence: a generation, or a vector from its initialisation through training."""
        return self._columns["group"]

    @property
    def task(self) -> Texts:
        """The label of the dataset record."""
        return self._columns["task"]

    @property
    def prompt(self) -> Texts:
        """Reference of the prompt that the point belongs to, or that its text was read with."""
        return self._columns["prompt"]

    def __len__(self) -> int:
        return len(self._columns["x"])

    def to_pandas(self) -> pandas.DataFrame:
        """One row a point; ``position`` is an integer or missing. Requires pandas."""
        pd = import_optional("pandas", extra="pandas")
        frame: pandas.DataFrame = pd.DataFrame(self._columns).astype({"position": "Int64"})
        return frame

    def axis_names(self, layer: int) -> dict[str, str]:
        """Labels of the axes of one layer."""
        return {axis: axis for axis in AXES if axis in self._columns} | dict(self._axis_names.get(layer, {}))

    def column(self, name: str) -> Column:
        """A column by name. Raises ValueError if there is no such column."""
        if name not in self._columns:
            raise ValueError(f"expected one of the columns {', '.join(self._columns)}, got {name!r}")
        return self._columns[name]

    def colors(self, color: str | npt.ArrayLike) -> Column:
        """Values to colour by, `[n]`: a column, or the given values. Texts have dtype object, numbers float64."""
        values = self.column(color) if isinstance(color, str) else np.asarray(color)
        if values.shape != (len(self),):
            raise ValueError(f"color: expected a column or a value for each of {len(self)} points, got {values.shape}")
        return values.astype(object if values.dtype.kind in "OUSb" else np.float64)
