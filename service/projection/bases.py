"""Fitting a basis by method, and loading a stored one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from service.errors import DamagedArtifact, InvalidRequest
from service.projection.arrays import MIN_POINTS, Floats, as_vectors
from service.projection.pca import PcaBasis, fit_pca
from service.projection.tsne_basis import TsneBasis, fit_tsne
from service.projection.umap_basis import UmapBasis, fit_umap

_KINDS: Mapping[str, type[PcaBasis] | type[UmapBasis] | type[TsneBasis]] = {
    basis.method: basis for basis in (PcaBasis, UmapBasis, TsneBasis)
}


class Basis(Protocol):
    """A fitted projection."""

    @property
    def method(self) -> str: ...
    @property
    def d_model(self) -> int: ...
    @property
    def n_components(self) -> int: ...

    def place(self, vectors: npt.NDArray[Any]) -> Floats:
        """Coordinates `[n, n_components]` of vectors `[n, d_model]`, without refitting."""

    def tensors(self) -> Mapping[str, npt.NDArray[Any]]:
        """Arrays to store."""

    def facts(self) -> Mapping[str, Any]:
        """JSON values to store with the tensors."""


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """Settings of a fit; fields of the wire type ``MapSpec``."""

    method: Literal["pca", "umap", "tsne"] = "pca"
    n_components: int = 2
    n_pca: int = 50
    n_neighbors: int = 15
    min_dist: float = 0.1
    metric: str = "euclidean"
    perplexity: float = 30.0
    seed: int = 0


def fit_basis(vectors: npt.NDArray[Any], *, settings: FitSettings) -> tuple[Basis, Floats, PcaBasis]:
    """Fit points `[n, d]`. Returns the basis, coordinates `[n, n_components]`, and the PCA that precedes the method.

    Raises:
        InvalidRequest: too few points or dimensions, or t-SNE with ``n_components`` other than 2.
    """
    given = as_vectors(vectors)
    n, d = given.shape
    if n < MIN_POINTS or d < settings.n_components:
        raise InvalidRequest(
            f"A map needs at least {MIN_POINTS} points of {settings.n_components} dimensions, got {n} of {d}."
        )
    reduction = fit_pca(given, n_components=min(max(settings.n_pca, settings.n_components), d))
    if settings.method == "pca":
        basis = reduction.first(settings.n_components)
        return basis, basis.place(given), reduction
    if settings.method == "umap":
        umap = fit_umap(
            given,
            reduction=reduction,
            n_components=settings.n_components,
            n_neighbors=settings.n_neighbors,
            min_dist=settings.min_dist,
            metric=settings.metric,
            seed=settings.seed,
        )
        return umap, umap.embedding, reduction
    if settings.n_components != 2:
        raise InvalidRequest(f"t-SNE maps have 2 dimensions, got {settings.n_components}.", loc=("n_components",))
    tsne = fit_tsne(
        given, reduction=reduction, perplexity=settings.perplexity, metric=settings.metric, seed=settings.seed
    )
    return tsne, tsne.embedding.astype(np.float32), reduction


def load_basis(tensors: Mapping[str, npt.NDArray[Any]], *, facts: Mapping[str, Any]) -> Basis:
    """The basis with these ``tensors`` and ``facts``; DamagedArtifact if they do not describe one."""
    try:
        return _KINDS[facts["method"]].from_tensors(tensors, facts=facts)
    except (KeyError, TypeError) as error:
        raise DamagedArtifact(f"The map's basis is damaged: {error} is missing or malformed.") from None
