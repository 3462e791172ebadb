"""Points of a map: columns to compute with, a frame, a picture."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from promptatlas.results.maps.columns import AXES, Column, Columns

if TYPE_CHECKING:
    import pandas
    from plotly.graph_objects import Figure

Floats = npt.NDArray[np.float32]
Texts = npt.NDArray[np.object_]


class Points:
    """Points on a map, in columns of one length. A column of texts is an array of texts and None.

    ``points.source == "qa"`` is a mask, and ``points[mask]`` the points that it chooses.
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
        """Third coordinate, `[n]`; None where the map has two."""
        return self._columns.get("z")

    @property
    def coordinates(self) -> Floats:
        """All coordinates, `[n, 2 or 3]`."""
        return np.stack([self._columns[axis] for axis in AXES if axis in self._columns], axis=1)

    @property
    def layer(self) -> npt.NDArray[np.int32]:
        """Whose input a point is: 0 are the embeddings, l what goes into block l."""
        return self._columns["layer"]

    @property
    def position(self) -> npt.NDArray[np.float64]:
        """Index of the token, virtual ones negative; step of a snapshot. NaN where a point has neither."""
        return self._columns["position"]

    @property
    def source(self) -> Texts:
        """Name of the source that the point is from."""
        return self._columns["source"]

    @property
    def role(self) -> Texts:
        """``state``, ``embedding``, ``draw``, ``snapshot``, ``posterior`` or ``placed``."""
        return self._columns["role"]

    @property
    def text(self) -> Texts:
        """The text that the point is of, or in."""
        return self._columns["text"]

    @property
    def token(self) -> Texts:
        """The token that the point is of."""
        return self._columns["token"]

    @property
    def group(self) -> Texts:
        """Points of one group belong together in order: a generation, a vector's way from draw to posterior."""
        return self._columns["group"]

    @property
    def task(self) -> Texts:
        """The record's own label."""
        return self._columns["task"]

    @property
    def prompt(self) -> Texts:
        """Reference of the prompt that the point is of, or was read under."""
        return self._columns["prompt"]

    def where(self, **values: Any) -> Points:
        """The points that have these values in their columns; a collection is of values that will all do.

        ``points.where(layer=3, role=("draw", "posterior"))``
        """
        mask = np.ones(len(self), bool)
        for name, wanted in values.items():
            mask &= _is_one_of(self._column(name), wanted)
        return self[mask]

    def __getitem__(self, chosen: slice | npt.NDArray[Any]) -> Points:
        """The points of a slice, of a mask `[n]`, or at indices."""
        columns = {name: column[chosen] for name, column in self._columns.items()}
        return Points(columns, axis_names=self._axis_names)

    def __len__(self) -> int:
        return len(self._columns["x"])

    def to_pandas(self) -> pandas.DataFrame:
        """One line a point, one column a column; ``position`` is an integer or missing. Needs pandas."""
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("expected pandas to be installed: pip install 'promptatlas[pandas]'") from error
        return pd.DataFrame(self._columns).astype({"position": "Int64"})

    def plot(
        self,
        *,
        color: str | npt.ArrayLike = "source",
        layer: int | None = None,
        lines: bool = True,
        also: Points | None = None,
        title: str | None = None,
    ) -> Figure:
        """Draws the points, to be looked at in a notebook: text and token where the mouse is.

        Args:
            color: a column's name, or a value for each point: numbers get a scale, texts a colour each.
            layer: this one alone; None: all of them, with a slider that goes through them.
            lines: join the points of each group in their order.
            also: more points, drawn as crosses above the others, e.g. what ``project`` has placed.

        Raises:
            ImportError: plotly is not installed.
            ValueError: there is no such column or layer, or no value for each point.
        """
        from promptatlas.results.maps.plots import draw

        return draw(self, color=color, layer=layer, lines=lines, also=also, title=title or self._title())

    def axis_names(self, layer: int) -> dict[str, str]:
        """What to write at the axes of one layer."""
        return {axis: axis for axis in AXES if axis in self._columns} | dict(self._axis_names.get(layer, {}))

    def __repr__(self) -> str:
        layers = np.unique(self.layer).tolist()
        sources = list(dict.fromkeys(self.source.tolist()))
        return f"{type(self).__name__}(n_points={len(self)}, layers={layers}, sources={sources})"

    def _title(self) -> str | None:
        return None

    def _column(self, name: str) -> Column:
        if name not in self._columns:
            raise ValueError(f"expected one of the columns {', '.join(self._columns)}, got {name!r}")
        return self._columns[name]

    def colors(self, color: str | npt.ArrayLike) -> Column:
        """What colours tell, `[n]`: a column, or values that are given. Texts are objects, numbers float64."""
        values = self._column(color) if isinstance(color, str) else np.asarray(color)
        if values.shape != (len(self),):
            raise ValueError(f"color: expected a column or a value for each of {len(self)} points, got {values.shape}")
        return values.astype(object if values.dtype.kind in "OUSb" else np.float64)


def _is_one_of(column: Column, wanted: Any) -> npt.NDArray[np.bool_]:
    is_one = isinstance(wanted, str) or not isinstance(wanted, Collection)
    found = np.zeros(len(column), bool)
    # One by one: numpy's isin cannot order None among texts.
    for value in (wanted,) if is_one else wanted:
        found |= column == value
    return found
