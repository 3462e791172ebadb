"""What sources write to: the points of each layer, vectors and what they are of, side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from service.engine.model.hosted_model import HostedModel
from service.store.maps.points import Labels
from service.store.runs.store import RunStore
from workers.maps.spool import Spool
from workers.priors.sources.sources import Sources
from workers.running.interface import RunContext

Floats = npt.NDArray[np.float32]


class LayerPoints:
    """All points of one layer."""

    def __init__(self, *, layer: int, d_model: int, memory_bytes: int) -> None:
        self.spool = Spool(d_model, memory_bytes=memory_bytes)
        self.labels = Labels(layer=layer)

    def add(
        self,
        vectors: Floats,
        *,
        source: str,
        role: str,
        positions: npt.NDArray[np.integer[Any]] | None = None,
        **texts: str | Sequence[str | None] | None,
    ) -> None:
        """Add points `[n, d_model]`, labelled as ``Labels.add`` does it."""
        self.spool.add(vectors)
        self.labels.add(len(vectors), source=source, role=role, positions=positions, **texts)


@dataclass(frozen=True, kw_only=True)
class PointCollector:
    """One pass over the sources.

    layers: those of this pass, ascending. points: by layer. priors: what priors are fitted with. tell: how much of the present
    source is done, from 0 to 1.
    """

    run: RunContext
    model: HostedModel
    runs: RunStore
    priors: Sources
    layers: Sequence[int]
    points: Mapping[int, LayerPoints]
    tell: Callable[[float], None]
