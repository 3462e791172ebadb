"""A map as an object: its points, how true it is, and a way to place more points on it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from promptatlas.calls import maps as calls
from promptatlas.calls.maps import NewPoints
from promptatlas.calls.runs import split_options
from promptatlas.results.maps.columns import AXES, Columns, parse_facts, read_columns
from promptatlas.results.maps.points import Points
from promptatlas.transport.files import Received
from promptatlas.transport.sender import AsyncSender, Sender
from promptatlas.types import MapInfo, MapMethod, MapQuality

if TYPE_CHECKING:
    from typing_extensions import Unpack


class MapView(Points):
    """A map's points, and what is known of it. info: all that the server told."""

    def __init__(self, columns: Columns, *, info: MapInfo) -> None:
        super().__init__(columns, axis_names=_axis_names(info))
        self.info = info

    @property
    def id(self) -> str:
        """What the server knows it by; also the id of the run that made it."""
        return self.info.id

    @property
    def name(self) -> str | None:
        """Its name for people."""
        return self.info.name

    @property
    def model(self) -> str:
        """Whose states it is of."""
        return self.info.model

    @property
    def method(self) -> MapMethod:
        """``pca``, ``umap`` or ``tsne``."""
        return self.info.method

    @property
    def layers(self) -> list[int]:
        """Layers that it has a basis for, also where the points of only one were fetched."""
        return self.info.layers

    @property
    def sources(self) -> list[str]:
        """Names of what was drawn on it."""
        return self.info.sources

    @property
    def quality(self) -> dict[int, MapQuality]:
        """How true each layer's picture is."""
        return {quality.layer: quality for quality in self.info.quality}

    @property
    def spec(self) -> dict[str, Any]:
        """What it was made of."""
        return self.info.spec

    def __repr__(self) -> str:
        layers = f"layers={self.layers}, sources={self.sources}"
        return f"{type(self).__name__}(id={self.id!r}, method={self.method!r}, n_points={len(self)}, {layers})"

    def _title(self) -> str | None:
        return self.name or f"{self.method.upper()} of {self.model}"


class Map(MapView):
    """A map on a server; ``project`` places more points on it."""

    def __init__(self, columns: Columns, *, info: MapInfo, sender: Sender) -> None:
        super().__init__(columns, info=info)
        self._sender = sender

    def project(self, **options: Unpack[NewPoints]) -> Points:
        """Places texts, sources or vectors on the map, which stays as it is; points at each of its layers.

        Args:
            options: ``texts`` (with ``prompt_ref``, ``per``), ``sources``, ``vectors`` `[n, d_model]`, ``layers``;
                see ``promptatlas.calls.maps.NewPoints``. ``timeout_s``, ``request_id``.

        Raises:
            InvalidRequestError: they do not fit the map; ``errors`` says where.
        """
        fields, call_options = split_options(options)
        received = self._sender.fetch(calls.project(self.id, fields, call_options), None)
        return placed_points(received, info=self.info)


class AsyncMap(MapView):
    """A map on a server; see Map."""

    def __init__(self, columns: Columns, *, info: MapInfo, sender: AsyncSender) -> None:
        super().__init__(columns, info=info)
        self._sender = sender

    async def project(self, **options: Unpack[NewPoints]) -> Points:
        """As Map.project."""
        fields, call_options = split_options(options)
        received = await self._sender.fetch(calls.project(self.id, fields, call_options), None)
        return placed_points(received, info=self.info)


def read_map(received: Received) -> tuple[Columns, MapInfo]:
    """The points and the facts of a map in a file that came."""
    columns, facts = read_columns(received)
    return columns, parse_facts(MapInfo, facts)


def placed_points(received: Received, *, info: MapInfo) -> Points:
    """The points in a file that came, named as those of their map."""
    columns, _ = read_columns(received)
    return Points(columns, axis_names=_axis_names(info))


def _axis_names(info: MapInfo) -> Mapping[int, Mapping[str, str]]:
    """How much of the variance each axis has, where the method tells."""
    return {
        quality.layer: {axis: f"{axis} ({share:.0%})" for axis, share in zip(AXES, shares, strict=False)}
        for quality in info.quality
        if (shares := quality.explained_variance) is not None
    }
