"""Fitting the basis of a layer, with the coordinates of all points and the quality of the map."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from promptatlas.types.maps import MapQuality, MapSpec

from service.errors import InvalidRequest
from service.projection.arrays import MIN_POINTS
from service.projection.bases import Basis, FitSettings, fit_basis
from service.projection.pca import PcaBasis
from service.projection.quality import quality_of
from service.projection.refit_loss import compare_refitting

MAX_FITTED = 100_000
"""Maximum number of points for the fit of UMAP and t-SNE; of more, a seeded sample is fitted and the rest projected."""

_BLOCK = 8192

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class FittedLayer:
    """A fitted layer. places: coordinates of all points, float32 `[n, n_components]`."""

    basis: Basis
    places: Floats
    quality: MapQuality


def fit_settings(spec: MapSpec) -> FitSettings:
    """The settings of a fit in a spec."""
    return FitSettings(
        method=spec.method,
        n_components=spec.n_components,
        n_pca=spec.n_pca,
        n_neighbors=spec.n_neighbors,
        min_dist=spec.min_dist,
        metric=spec.metric,
        perplexity=spec.perplexity,
        seed=spec.seed,
    )


def fit_layer(vectors: Floats, *, layer: int, spec: MapSpec, max_fitted: int = MAX_FITTED) -> FittedLayer:
    """Fit vectors `[n, d_model]`; deterministic for the same vectors and spec.

    Raises:
        InvalidRequest: too few points.
    """
    if len(vectors) < MIN_POINTS:
        raise InvalidRequest(
            f"A map needs at least {MIN_POINTS} points at every layer, and layer {layer} has {len(vectors)}: add sources, "
            "or leave the layer out.",
            loc=("sources",),
        )
    settings = fit_settings(spec)
    basis, places = _fit(vectors, settings=settings, max_fitted=max_fitted)
    return FittedLayer(basis=basis, places=places, quality=_quality(vectors, places, basis, layer=layer, spec=spec))


def _fit(vectors: Floats, *, settings: FitSettings, max_fitted: int) -> tuple[Basis, Floats]:
    if settings.method == "pca" or len(vectors) <= max_fitted:
        basis, places, _ = fit_basis(vectors, settings=settings)
        return basis, places
    chosen = np.sort(np.random.default_rng(settings.seed).permutation(len(vectors))[:max_fitted])
    basis, fitted, _ = fit_basis(vectors[chosen], settings=settings)
    places = np.empty((len(vectors), settings.n_components), np.float32)
    places[chosen] = fitted
    others = np.setdiff1d(np.arange(len(vectors)), chosen, assume_unique=True)
    for block in _blocks(others):
        places[block] = basis.place(vectors[block])
    return basis, places


def _blocks(indices: npt.NDArray[np.int64]) -> Iterator[npt.NDArray[np.int64]]:
    for start in range(0, len(indices), _BLOCK):
        yield indices[start : start + _BLOCK]


def _quality(vectors: Floats, places: Floats, basis: Basis, *, layer: int, spec: MapSpec) -> MapQuality:
    metric = "euclidean" if spec.method == "pca" else spec.metric
    measured = quality_of(vectors, places, sample=spec.sample, seed=spec.seed, metric=metric)
    refitting = compare_refitting(vectors, settings=fit_settings(spec), sample=spec.sample, seed=spec.seed)
    more: dict[str, Any] = {}
    if refitting is not None:
        more = {
            "n_held_out": refitting.n_held_out,
            "placed_trustworthiness": refitting.placed.trustworthiness,
            "refitted_trustworthiness": refitting.refitted.trustworthiness,
            "placed_neighbor_overlap": refitting.placed.neighbor_overlap,
            "refitted_neighbor_overlap": refitting.refitted.neighbor_overlap,
        }
    return MapQuality(
        layer=layer,
        n_points=len(places),
        explained_variance=basis.explained_variance if isinstance(basis, PcaBasis) else None,
        trustworthiness=measured.trustworthiness,
        neighbor_overlap=measured.neighbor_overlap,
        **more,
    )
