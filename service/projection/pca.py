"""Principal component analysis in one pass over the points, for inputs larger than memory.

The pass accumulates the mean and the `[d, d]` matrix of products in float64, block by block; the components are the
eigenvectors of the covariance. The result is as exact as a full decomposition and needs memory for `[d, d]` and one block.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh

from service.errors import InvalidRequest
from service.projection.arrays import Doubles, Floats, as_vectors

BLOCK_BYTES = 32 << 20


@dataclass(frozen=True, kw_only=True)
class PcaBasis:
    """mean `[d]`; components `[k, d]` with orthonormal rows; variances `[k]` along them; total variance of all dimensions."""

    mean: Floats
    components: Floats
    variances: Doubles
    total: float
    n_points: int

    method: ClassVar[str] = "pca"

    @property
    def d_model(self) -> int:
        """Number of dimensions of the input."""
        return int(self.mean.shape[0])

    @property
    def n_components(self) -> int:
        """Number of dimensions of the map."""
        return len(self.components)

    @property
    def explained_variance(self) -> list[float]:
        """Share of the variance explained by each component."""
        return (self.variances / self.total).tolist() if self.total > 0 else [0.0] * len(self.components)

    def place(self, vectors: npt.NDArray[Any]) -> Floats:
        """``(vectors − mean) · componentsᵀ``, `[n, k]`."""
        given = as_vectors(vectors, d=self.d_model)
        # In blocks, to avoid a centred copy of all points.
        placed = [(block - self.mean) @ self.components.T for block in _blocks(given)]
        return np.concatenate(placed) if placed else np.zeros((0, self.n_components), np.float32)

    def first(self, n: int) -> PcaBasis:
        """The basis with only the first ``n`` components."""
        return PcaBasis(
            mean=self.mean,
            components=self.components[:n],
            variances=self.variances[:n],
            total=self.total,
            n_points=self.n_points,
        )

    def tensors(self) -> Mapping[str, npt.NDArray[Any]]:
        """Arrays for ``from_tensors``."""
        return {"mean": self.mean, "components": self.components, "variances": self.variances}

    def facts(self) -> Mapping[str, Any]:
        """JSON values for ``from_tensors``."""
        return {"method": self.method, "total": self.total, "n_points": self.n_points}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, npt.NDArray[Any]], *, facts: Mapping[str, Any]) -> PcaBasis:
        """The inverse of ``tensors`` and ``facts``."""
        return cls(
            mean=np.asarray(tensors["mean"], dtype=np.float32),
            components=np.asarray(tensors["components"], dtype=np.float32),
            variances=np.asarray(tensors["variances"], dtype=np.float64),
            total=float(facts["total"]),
            n_points=int(facts["n_points"]),
        )


class PcaFit:
    """Accumulates blocks of points; ``basis`` may be called at any time."""

    def __init__(self, d: int) -> None:
        self._n = 0
        self._shift: Floats | None = None
        self._sum = np.zeros(d, dtype=np.float64)
        self._products = np.zeros((d, d), dtype=np.float64)

    def add(self, vectors: npt.NDArray[Any]) -> None:
        """Add points `[n, d]`."""
        given = as_vectors(vectors, d=len(self._sum))
        if not len(given):
            return
        if self._shift is None:
            # Near the mean the products do not cancel, so that float32 is precise enough within a block.
            self._shift = given[: min(len(given), 4096)].mean(0)
        for block in _blocks(given):
            centred = block - self._shift
            self._n += len(block)
            self._sum += centred.sum(0, dtype=np.float64)
            self._products += centred.T @ centred

    def basis(self, n_components: int) -> PcaBasis:
        """The first components of the points so far, each with the sign that makes its largest entry positive.

        Raises:
            InvalidRequest: fewer than two points, or fewer dimensions than components.
        """
        d = len(self._sum)
        if self._n < 2 or self._shift is None:
            raise InvalidRequest(f"Expected at least 2 points for principal components, got {self._n}.")
        if n_components > d:
            raise InvalidRequest(f"Expected at most {d} components of points with {d} dimensions, got {n_components}.")
        offset = self._sum / self._n
        covariance = np.outer(offset, -offset)
        covariance += self._products / self._n
        total = float(np.trace(covariance))
        variances, vectors = eigh(covariance, subset_by_index=(d - n_components, d - 1), overwrite_a=True)
        components = vectors[:, ::-1].T
        largest = np.abs(components).argmax(1)
        components = components * np.sign(components[np.arange(n_components), largest])[:, None]
        return PcaBasis(
            mean=(self._shift + offset).astype(np.float32),
            components=np.ascontiguousarray(components, dtype=np.float32),
            variances=np.maximum(variances[::-1], 0.0),
            total=total,
            n_points=self._n,
        )


def fit_pca(vectors: npt.NDArray[Any] | Iterable[npt.NDArray[Any]], *, n_components: int) -> PcaBasis:
    """Fit points `[n, d]`, or an iterable of such blocks, in one pass.

    Raises:
        InvalidRequest: see ``PcaFit``, or blocks of different width.
    """
    blocks = iter([vectors]) if isinstance(vectors, np.ndarray) else iter(vectors)
    first = next(blocks, None)
    if first is None:
        raise InvalidRequest("Expected at least 2 points for principal components, got 0.")
    fit = PcaFit(as_vectors(first).shape[1])
    fit.add(first)
    for block in blocks:
        fit.add(block)
    return fit.basis(n_components)


def _blocks(vectors: Floats) -> Iterator[Floats]:
    n_rows = max(1, BLOCK_BYTES // max(1, vectors.shape[1] * vectors.itemsize))
    for start in range(0, len(vectors), n_rows):
        yield vectors[start : start + n_rows]
