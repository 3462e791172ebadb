# Generated from promptatlas.resources._async.map by generate_sync.py: edit that module, then run `make generate`.
"""A map on a server: its points, and the projection of further points onto it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from promptatlas.resources._async.map import NewPoints, _project_body, map_path
from promptatlas.resources.options import split_options
from promptatlas.results.maps.columns import Columns
from promptatlas.results.maps.points import Points
from promptatlas.results.maps.view import MapView, projected_points, read_map
from promptatlas.transport._sync.sender import Sender
from promptatlas.transport.call import SAFETENSORS, Call, CallOptions, nothing, options_of, reader
from promptatlas.types import MapInfo, MapNeighbors, NeighborMetric

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Map(MapView):
    """A map on a server."""

    def __init__(self, columns: Columns, *, info: MapInfo, sender: Sender) -> None:
        super().__init__(columns, info=info)
        self._sender = sender

    def project(self, **options: Unpack[NewPoints]) -> Points:
        """Projects texts, sources or vectors onto the map, which does not change. One point for each of its layers.

        Args:
            options: ``texts`` (with ``prompt_ref``, ``per``), ``sources``, ``vectors`` `[n, d_model]`, ``layers``;
                ``timeout_s``, ``request_id``.

        Raises:
            InvalidRequestError: they do not fit the map; ``errors`` has the locations.
        """
        fields, call_options = split_options(options)
        body, common = _project_body(fields), options_of(call_options)
        path = f"{map_path(self.id)}/project"
        call = Call(method="POST", path=path, parse=nothing, body=body, accept=SAFETENSORS, **common)
        return projected_points(self._sender.fetch(call, None), info=self.info)

    def neighbors(
        self, point: int, *, k: int = 10, metric: NeighborMetric = "euclidean", **options: Unpack[CallOptions]
    ) -> MapNeighbors:
        """The nearest points of a point in the original space, not on the map: exact, nearest first.

        Args:
            point: index into the columns of this map. ``index`` of the result counts the points of the point's layer.
            k: number of neighbours, 1 to 100. metric: ``cosine`` is 1 − cosine similarity.
            options: ``timeout_s``, ``request_id``.

        Raises:
            NotFoundError: the map's run stored no vectors.
            ValueError: there is no such point.
        """
        if not 0 <= point < len(self):
            raise ValueError(f"point: expected 0 to {len(self) - 1}, got {point}")
        layer = int(self.layer[point])
        first = int(np.argmax(self.layer == layer))
        params = {"layer": str(layer), "point": str(point - first), "k": str(k), "metric": metric}
        path = f"{map_path(self.id)}/neighbors"
        call = Call(method="GET", path=path, parse=reader(MapNeighbors), params=params, **options_of(options))
        return self._sender.send(call)


def fetch_map(sender: Sender, map_id: str, *, layer: int | None, options: CallOptions) -> Map:
    """A map with its points; layer: only those of one layer."""
    # As tensors, since a map may have a million points.
    params = {} if layer is None else {"layer": str(layer)}
    common = options_of(options)
    call = Call(method="GET", path=map_path(map_id), parse=nothing, params=params, accept=SAFETENSORS, **common)
    columns, info = read_map(sender.fetch(call, None))
    return Map(columns, info=info, sender=sender)
