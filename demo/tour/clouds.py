"""Distances of prompts from their draws and from tokens, layer by layer, in units that are comparable across layers.

For soft vectors, a token is its embedding. For deep vectors, a token is its state at the input of their layer, in some
text. The unit is the mean distance between two tokens at that place.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from promptatlas import Client
from promptatlas.types import ModelCard

from service.measures.displacement import displacement
from service.measures.spread import mean_pairwise_distance
from workers.analysis.neighbours import nearest_tokens

Array = npt.NDArray[np.float32]

N_IDS_A_REQUEST: Final = 8192
N_IDS_A_ROW: Final = 1024
"""A row that is longer than a step of the engine is read in parts, and all but the last part run through every layer."""
N_FOR_UNIT: Final = 1000
"""Number of evenly spaced tokens from which the unit is computed; the number of pairs is quadratic."""


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """Tokens `[n, d_model]` at one layer, and the mean distance between two of them."""

    points: Array
    unit: float

    @classmethod
    def of(cls, points: Array) -> "Cloud":
        """A cloud with its unit."""
        step = max(1, len(points) // N_FOR_UNIT)
        return cls(points=points, unit=mean_pairwise_distance(points[::step]))


@dataclass(frozen=True, kw_only=True)
class Distances:
    """Means over vectors, in units of the cloud.

    moved: from draw to posterior. draw_to_token, to_token: from the draw and the posterior to the nearest token.
    """

    moved: float
    draw_to_token: float
    to_token: float


def compare(draw: Array, posterior: Array, *, cloud: Cloud) -> Distances:
    """Distances of vectors `[n, d_model]` at the layer of the cloud."""
    return Distances(
        moved=float(displacement(draw, posterior).distance.mean() / cloud.unit),
        draw_to_token=float(nearest_tokens(draw, cloud.points).distances.mean() / cloud.unit),
        to_token=float(nearest_tokens(posterior, cloud.points).distances.mean() / cloud.unit),
    )


def mean_of(distances: Sequence[Distances]) -> Distances:
    """The mean of each distance."""
    return Distances(
        moved=fmean(one.moved for one in distances),
        draw_to_token=fmean(one.draw_to_token for one in distances),
        to_token=fmean(one.to_token for one in distances),
    )


class Clouds:
    """The clouds of a model, each read on first use. texts: the texts whose token states form the cloud of a layer."""

    def __init__(self, client: Client, *, card: ModelCard, texts: Sequence[str]) -> None:
        self._client = client
        self._card = card
        self._texts = list(texts)
        self._known: dict[str, Cloud] = {}

    def at(self, tensor: str) -> Cloud:
        """The cloud for a prompt's tensor, `soft` or `deep.{layer}`."""
        if tensor not in self._known:
            self._known[tensor] = Cloud.of(self._embeddings() if tensor == "soft" else self._states(tensor))
        return self._known[tensor]

    def keep(self, tensor: str, cloud: Cloud) -> None:
        """Store a known cloud."""
        self._known[tensor] = cloud

    def distances(self, draw: Mapping[str, Array], posterior: Mapping[str, Array]) -> dict[str, Distances]:
        """Compare the draw of a prompt with its posterior, tensor by tensor."""
        return {name: compare(draw[name], vectors, cloud=self.at(name)) for name, vectors in posterior.items()}

    def _embeddings(self) -> Array:
        ids = list(range(self._card.vocab_size))
        longest = min(self._card.n_positions, N_IDS_A_ROW)
        rows = [ids[start : start + longest] for start in range(0, len(ids), longest)]
        n_rows = max(1, N_IDS_A_REQUEST // longest)
        parts = [self._read(rows[i : i + n_rows], site="embed", layer=None) for i in range(0, len(rows), n_rows)]
        return np.concatenate(parts)

    def _states(self, tensor: str) -> Array:
        return self._read(self._texts, site="resid_pre", layer=int(tensor.removeprefix("deep.")))

    def _read(self, inputs: Sequence[str] | Sequence[Sequence[int]], *, site: str, layer: int | None) -> Array:
        layers: list[int] | Literal["all"] = [layer] if layer is not None else "all"
        with self._client.activations.get(model=self._card.id, inputs=inputs, sites=[site], layers=layers) as cache:
            return np.array(cache[site] if layer is None else cache[site, layer], np.float32)
