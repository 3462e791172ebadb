"""A map as the server returned it: its points and its metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from promptatlas.results.maps.columns import AXES, Columns, parse_header, read_columns
from promptatlas.results.maps.points import Points
from promptatlas.transport.files import Received
from promptatlas.types import MapInfo, MapMethod, MapQuality


class MapView(Points):
    """The points and the metadata of a map. info: the metadata as the server returned them."""

    def __init__(self, columns: Columns, *, info: MapInfo) -> None:
        super().__init__(columns, axis_names=_axis_names(info))
        self.info = info

    @property
    def id(self) -> str:
        """Identifier of the map, and of the run that made it."""
        return self.info.id

    @property
    def name(self) -> str | None:
        """Display name."""
        return self.info.name

    @property
    def model(self) -> str:
        """The model whose activations are mapped."""
        return self.info.model

    @property
    def method(self) -> MapMethod:
        """``pca``, ``umap`` or ``tsne``."""
        return self.info.method

    @property
    def layers(self) -> list[int]:
        """All layers of the map, including those whose points were not fetched."""
        return self.info.layers

    @property
    def sources(self) -> list[str]:
        """Names of the sources."""
        return self.info.sources

    @property
    def quality(self) -> dict[int, MapQuality]:
        """Quality of the projection, by layer: explained variance, trustworthiness, neighbour overlap."""
        return {quality.layer: quality for quality in self.info.quality}

    @property
    def spec(self) -> dict[str, Any]:
        """The spec that the map was made with."""
        return self.info.spec

    def __repr__(self) -> str:
        layers = f"layers={self.layers}, sources={self.sources}"
        return f"{type(self).__name__}(id={self.id!r}, method={self.method!r}, n_points={len(self)}, {layers})"

    def _title(self) -> str | None:
        return self.name or f"{self.method.upper()} of {self.model}"


def read_map(received: Received) -> tuple[Columns, MapInfo]:
    """The columns and the metadata of a map in a received file."""
    columns, header = read_columns(received)
    return columns, parse_header(MapInfo, header)


def projected_points(received: Received, *, info: MapInfo) -> Points:
    """The points in a received file, with the axis labels of their map."""
    columns, _ = read_columns(received)
    return Points(columns, axis_names=_axis_names(info))


def _axis_names(info: MapInfo) -> Mapping[int, Mapping[str, str]]:
    """Axis labels with the share of the variance that each axis explains, by layer; empty for methods without it."""
    return {
        quality.layer: {axis: f"{axis} ({share:.0%})" for axis, share in zip(AXES, shares, strict=False)}
        for quality in info.quality
        if (shares := quality.explained_variance) is not None
    }
