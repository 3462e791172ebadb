"""Points that sources write to: for each layer the vectors and their labels."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from service.errors import TooLarge
from service.map_sources.vector_buffer import VectorBuffer
from service.store.maps.points import Labels

Floats = npt.NDArray[np.float32]


class GatheredPoints:
    """Points by layer. A context manager: closing it frees memory and temporary files.

    Args:
        layers: ascending.
        memory_bytes: of the vectors of all layers that are kept in memory; see :class:`VectorBuffer`.
        max_points: over all layers; None for no limit.
    """

    def __init__(
        self, layers: Sequence[int], *, d_model: int, memory_bytes: int, max_points: int | None = None
    ) -> None:
        self.layers = tuple(layers)
        self._max_points = max_points
        self._labels = {layer: Labels(layer=layer) for layer in layers}
        bytes_per_layer = memory_bytes // max(1, len(self.layers))
        self._vectors = {layer: VectorBuffer(d_model, memory_bytes=bytes_per_layer) for layer in layers}

    def add(
        self,
        layer: int,
        vectors: Floats,
        *,
        source: str,
        role: str,
        positions: npt.NDArray[np.integer[Any]] | None = None,
        **texts: str | Sequence[str | None] | None,
    ) -> None:
        """Add points `[n, d_model]` of a layer with the labels of :meth:`Labels.add`; TooLarge past ``max_points``."""
        self.require_room(len(vectors))
        self._vectors[layer].add(vectors)
        self._labels[layer].add(len(vectors), source=source, role=role, positions=positions, **texts)

    def require_room(self, n: int) -> None:
        """Raise TooLarge unless ``n`` more points may be added."""
        if self._max_points is not None and sum(labels.n for labels in self._labels.values()) + n > self._max_points:
            raise TooLarge(
                f"The request has more than {self._max_points:,} points: request fewer texts or layers, one point per text, "
                "or start a map run."
            )

    def n(self, layer: int) -> int:
        """Number of points of a layer."""
        return self._labels[layer].n

    def labels(self, layer: int) -> Labels:
        """Labels of a layer's points, in the order of :meth:`vectors`."""
        return self._labels[layer]

    def vectors(self, layer: int) -> Floats:
        """Vectors of a layer, `[n, d_model]`, read-only."""
        return self._vectors[layer].rows()

    def n_bytes(self, layer: int) -> int:
        """Size of a layer's vectors."""
        return self._vectors[layer].n_bytes

    def __enter__(self) -> GatheredPoints:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ExitStack() as stack:
            for buffer in self._vectors.values():
                stack.callback(buffer.close)
