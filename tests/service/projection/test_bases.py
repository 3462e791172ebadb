"""Maps that are fitted once: reproducible, kept as tensors, and true to what their own libraries do."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import umap
from openTSNE import TSNE
from sklearn.manifold import trustworthiness

from service.errors import DamagedArtifact, InvalidRequest
from service.projection.bases import FitSettings, fit_basis, load_basis
from service.projection.quality import quality_of

Points = npt.NDArray[np.float32]


def three_clouds(n: int, *, seed: int = 0, d: int = 12) -> tuple[Points, npt.NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    return (rng.normal(size=(n, d)) + 8.0 * np.eye(3, d)[labels]).astype(np.float32), labels


def settings(method: Any, **others: Any) -> FitSettings:
    return FitSettings(method=method, n_pca=8, perplexity=10.0, **others)


@pytest.fixture(scope="module", params=["pca", "umap", "tsne"])
def fitted(request: pytest.FixtureRequest) -> tuple[Any, Points, Points, npt.NDArray[np.int64]]:
    points, labels = three_clouds(240)
    basis, places, _ = fit_basis(points, settings=settings(request.param))
    return basis, places, points, labels


def nearest_centre(places: Points, own: Points, labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    centres = np.stack([own[labels == label].mean(0) for label in range(3)])
    found: npt.NDArray[np.int64] = np.linalg.norm(places[:, None] - centres[None], axis=2).argmin(1)
    return found


def test_new_points_lie_with_their_kind(fitted: Any) -> None:
    basis, places, _, labels = fitted
    new, new_labels = three_clouds(60, seed=7)
    assert (nearest_centre(basis.place(new), places, labels) == new_labels).mean() > 0.95


def test_what_is_kept_is_the_same_basis(fitted: Any) -> None:
    basis, _, _, _ = fitted
    new, _ = three_clouds(20, seed=7)
    again = load_basis(basis.tensors(), facts=basis.facts())
    np.testing.assert_array_equal(again.place(new), basis.place(new))
    np.testing.assert_array_equal(basis.place(new), basis.place(new))
    assert basis.place(new[:0]).shape == (0, 2)


def test_the_same_seed_is_the_same_map(fitted: Any) -> None:
    basis, places, points, _ = fitted
    _, again, _ = fit_basis(points, settings=settings(basis.method))
    np.testing.assert_array_equal(again, places)


def test_placing_is_as_true_as_fitting(fitted: Any) -> None:
    basis, places, points, _ = fitted
    new, _ = three_clouds(120, seed=3)
    both, on_map = np.concatenate([points, new]), np.concatenate([places, basis.place(new)])
    _, refitted, _ = fit_basis(both, settings=settings(basis.method))
    placed, fresh = (trustworthiness(both, where, n_neighbors=10) for where in (on_map, refitted))
    assert placed > fresh - 0.03


def test_umap_places_about_where_umap_learn_does() -> None:
    points, _ = three_clouds(240)
    new, _ = three_clouds(60, seed=7)
    basis, places, reduction = fit_basis(points, settings=settings("umap"))
    theirs = umap.UMAP(n_neighbors=15, min_dist=0.1, random_state=0, n_jobs=1).fit(reduction.place(points))
    np.testing.assert_allclose(places, theirs.embedding_, atol=1e-5)
    distance = np.linalg.norm(basis.place(new) - theirs.transform(reduction.place(new)), axis=1)
    spread = np.linalg.norm(places - places.mean(0), axis=1).mean()
    assert np.median(distance) < 0.05 * spread


def test_tsne_places_where_opentsne_does() -> None:
    points, _ = three_clouds(240)
    new, _ = three_clouds(60, seed=7)
    basis, _, reduction = fit_basis(points, settings=settings("tsne"))
    theirs = TSNE(perplexity=10.0, initialization="pca", random_state=0, n_jobs=1).fit(reduction.place(points))
    placed = np.asarray(theirs.transform(reduction.place(new)))
    shift = (np.asarray(theirs).max(0) + np.asarray(theirs).min(0)) / 2
    distance = np.linalg.norm(basis.place(new) - (placed - shift), axis=1)
    assert np.median(distance) < 1e-2 * np.asarray(theirs).std()


@pytest.mark.parametrize("method", ["pca", "umap"])
def test_three_dimensions(method: str) -> None:
    points, _ = three_clouds(60)
    basis, places, _ = fit_basis(points, settings=settings(method, n_components=3))
    assert places.shape == (60, 3)
    assert basis.place(points[:2]).shape == (2, 3)


def test_quality_is_scikit_learns_trustworthiness_and_overlap_by_its_definition() -> None:
    points, _ = three_clouds(90)
    _, places, _ = fit_basis(points, settings=settings("pca"))
    found = quality_of(points, places, sample=1000, seed=0)
    assert found.trustworthiness == pytest.approx(trustworthiness(points, places, n_neighbors=15))
    shared = []
    for index in range(len(points)):
        near = [np.argsort(np.linalg.norm(where - where[index], axis=1))[1:16] for where in (points, places)]
        shared.append(len(set(near[0].tolist()) & set(near[1].tolist())) / 15)
    assert found.neighbor_overlap == pytest.approx(np.mean(shared))
    assert quality_of(points, points, sample=50, seed=0).neighbor_overlap == 1
    assert quality_of(points, places, sample=50, seed=0).n_points == 50


def test_twins_do_not_spoil_the_overlap() -> None:
    points = np.repeat(three_clouds(12)[0], 20, axis=0)
    assert 0 < quality_of(points, points, sample=1000, seed=0).neighbor_overlap <= 1


def test_what_cannot_be_fitted_is_refused() -> None:
    points, _ = three_clouds(60)
    with pytest.raises(InvalidRequest, match="t-SNE maps have 2"):
        fit_basis(points, settings=settings("tsne", n_components=3))
    with pytest.raises(InvalidRequest, match="at least 5 points"):
        fit_basis(points[:3], settings=settings("pca"))
    with pytest.raises(InvalidRequest, match=r"\[n, 12\]"):
        fit_basis(points, settings=settings("pca"))[0].place(points[:, :3])
    with pytest.raises(DamagedArtifact):
        load_basis({}, facts={"method": "pca"})
