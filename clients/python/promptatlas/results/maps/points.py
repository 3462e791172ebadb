"""Points of a map, which can be selected and plotted."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from promptatlas.results.maps.columns import Column
from promptatlas.results.maps.plots import draw
from promptatlas.results.maps.point_columns import PointColumns

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


class Points(PointColumns):
    """Points on a map, in columns of equal length. A column of texts is an object array of str and None.

    ``points.source == "qa"`` is a mask, and ``points[mask]`` are the points that it selects.
    """

    def where(self, **values: Any) -> Points:
        """The points that have these values in their columns. A collection matches any of its values.

        ``points.where(layer=3, role=("draw", "posterior"))``
        """
        mask = np.ones(len(self), bool)
        for name, wanted in values.items():
            mask &= _is_one_of(self.column(name), wanted)
        return self[mask]

    def __getitem__(self, chosen: slice | npt.NDArray[Any]) -> Points:
        """The points selected by a slice, a mask `[n]` or an array of indices."""
        columns = {name: column[chosen] for name, column in self._columns.items()}
        return Points(columns, axis_names=self._axis_names)

    def plot(
        self,
        *,
        color: str | npt.ArrayLike = "source",
        layer: int | None = None,
        lines: bool = True,
        also: Points | None = None,
        title: str | None = None,
    ) -> Figure:
        """Plots the points with plotly; hovering over one shows its text and token.

        Args:
            color: name of a column, or a value for each point: numbers use a colour scale, texts a colour each.
            layer: one layer; None: all of them, with a slider.
            lines: connect the points of each group in order.
            also: further points, e.g. those of ``project``, plotted as crosses on top.

        Raises:
            ImportError: plotly is not installed.
            ValueError: there is no such column or layer, or the number of values differs from that of points.
        """
        return draw(self, color=color, layer=layer, lines=lines, also=also, title=title or self._title())

    def __repr__(self) -> str:
        layers = np.unique(self.layer).tolist()
        sources = list(dict.fromkeys(self.source.tolist()))
        return f"{type(self).__name__}(n_points={len(self)}, layers={layers}, sources={sources})"

    def _title(self) -> str | None:
        return None


def _is_one_of(column: Column, wanted: Any) -> npt.NDArray[np.bool_]:
    is_one = isinstance(wanted, str) or not isinstance(wanted, Collection)
    found = np.zeros(len(column), bool)
    # One by one: numpy's isin cannot order None among texts.
    for value in (wanted,) if is_one else wanted:
        found |= column == value
    return found
